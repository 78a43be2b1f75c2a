"""The decoder step as a torch module.

Shape letters: B candidates, T prompt tokens, C slots, D hidden width.
"""

from pathlib import Path

import torch
from runtime_problem import DECODER
from torch import Tensor, nn

from kalm_reranker.model.config import ModelConfig
from kalm_reranker.model.context import PassageSlots
from kalm_reranker.model.decoder import Decoder


class DecoderStep(nn.Module):
    """One prompt against the candidates of a query, none of them padded.

    Nothing in it depends on data but the numbers, so that it can be exported and compiled.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, prompt: Tensor, states: Tensor) -> Tensor:
        """Reads one embedded prompt [1, T, D] against states [B, C, D]; gives [B, D]."""
        num_candidates = states.shape[0]
        last = torch.full((num_candidates,), prompt.shape[1] - 1)
        context = PassageSlots(states.flatten(0, 1), None, None, num_candidates)
        embedded = prompt.expand(num_candidates, -1, -1)
        return self.decoder(embedded, last, context)  # type: ignore[no-any-return]


def load_step(folder: Path, dtype: torch.dtype) -> DecoderStep:
    """Builds the step from a problem's folder."""
    saved = torch.load(folder / DECODER, mmap=True)
    with torch.device("meta"):
        decoder = Decoder(ModelConfig.from_dict(saved["config"]).decoder)
    # Copied one by one from the mapping: the float32 file is never in memory as a whole.
    weights = {name: tensor.to(dtype, copy=True) for name, tensor in saved["decoder"].items()}
    decoder.load_state_dict(weights, assign=True)
    return DecoderStep(decoder.requires_grad_(False)).eval()
