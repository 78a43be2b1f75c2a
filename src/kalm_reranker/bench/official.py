"""The official way: Transformers' T5Gemma2, driven as the reference drives it.

Batches in the order given, right-padded; the decoder padded to a multiple of 8; logits of the
whole vocabulary at every position; nothing kept between calls.

Shape letters: B pairs, S passage tokens, C slots, T prompt tokens, V vocabulary.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kalm_reranker.bench.report import ENCODED, STORED, Way
from kalm_reranker.bench.settings import OFFICIAL
from kalm_reranker.bench.setup import Setup
from kalm_reranker.bench.workload import Workload
from kalm_reranker.encoding.passages import pad_token_ids
from kalm_reranker.engine.placement import dtype_name
from kalm_reranker.extras import import_extra
from kalm_reranker.model.pooling import pool_states

_PAD_MULTIPLE = 8


def default_dtype(device: torch.device) -> torch.dtype:
    """Returns the dtype that the reference takes on a device when none is asked for."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def load_official(directory: Path, dtype: torch.dtype, device: torch.device) -> Any:  # noqa: ANN401
    """Returns Transformers' model of a checkpoint.

    Raises:
        MissingExtraError: Transformers is not installed.
    """
    transformers = import_extra(
        "transformers", extra="bench", purpose="The official path of the benchmark"
    )
    log = transformers.utils.logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    # It would tell at length that a shape's vision tower, which never runs, has no weights.
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        model = transformers.T5Gemma2ForConditionalGeneration.from_pretrained(
            directory, dtype=dtype, local_files_only=True
        )
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()
    return model.to(device).eval()


class OfficialScorer:
    """Scores as the reference does, in one dtype.

    Args:
        model: What `load_official` returned.
        setup: Tokenizer, prompt and lengths.
        encodes: Whether passages are encoded, or their pooled states given.
    """

    def __init__(self, model: Any, setup: Setup, *, encodes: bool) -> None:  # noqa: ANN401
        self.way = Way(
            path=OFFICIAL,
            passages=ENCODED if encodes else STORED,
            dtype=dtype_name(model.dtype),
        )
        self._encodes = encodes
        self._model = model
        self._setup = setup

    def score(self, work: Workload, count: int) -> list[float]:
        """Scores the first `count` candidates."""
        size = self._setup.settings.batch_size
        prompt = self._setup.prompt()
        margins: list[float] = []
        for start in range(0, count, size):
            indices = range(start, min(start + size, count))
            with torch.inference_mode():
                slots, mask = self._states(work, indices)
                margins += self._margins(slots, mask, prompt)
        return margins

    def _states(self, work: Workload, indices: range) -> tuple[Tensor, Tensor]:
        """Returns slots [B, C, D] and their mask [B, C]."""
        device = self._model.device
        if not self._encodes:
            slots, mask = work.states.padded(indices)
            return slots.to(device, self._model.dtype), mask.to(device)
        texts = self._setup.tokenizer.encode_documents(
            [work.documents[index] for index in indices], self._setup.max_length
        )
        token_ids, mask = (part.to(device) for part in pad_token_ids([t.ids for t in texts]))
        encoder = self._model.get_encoder()
        states = encoder(input_ids=token_ids, attention_mask=mask.long()).last_hidden_state
        return pool_states(states, mask, work.ratio)

    def _margins(self, slots: Tensor, mask: Tensor, prompt: list[int]) -> list[float]:
        missing = -len(prompt) % _PAD_MULTIPLE
        token_ids = torch.tensor([prompt + [0] * missing] * len(slots), device=slots.device)
        attended = torch.ones_like(token_ids)
        attended[:, len(prompt) :] = 0
        outputs = _encoder_outputs(slots)
        logits = self._model(
            encoder_outputs=outputs,
            attention_mask=mask.long(),
            decoder_input_ids=token_ids,
            decoder_attention_mask=attended,
            use_cache=False,
        ).logits  # [B, T, V]
        tokenizer = self._setup.tokenizer
        last = logits[:, len(prompt) - 1].float()  # [B, V]
        found: list[float] = (last[:, tokenizer.yes_id] - last[:, tokenizer.no_id]).tolist()
        return found


def _encoder_outputs(slots: Tensor) -> Any:  # noqa: ANN401
    from transformers.modeling_outputs import BaseModelOutput

    return BaseModelOutput(last_hidden_state=slots)
