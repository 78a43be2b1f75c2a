"""Plain PyTorch execution: right everywhere, on every device."""

import torch
from torch import Tensor

from kalm_reranker.engine.batches import PairBatch
from kalm_reranker.model.reranker_model import RerankerModel


class EagerForward:
    """Runs batches through the model as it stands.

    Args:
        model: The model.
        yes_id: Token id of "yes".
        no_id: Token id of "no".
    """

    def __init__(self, model: RerankerModel, yes_id: int, no_id: int) -> None:
        self._model = model
        self._answer_ids = torch.tensor([yes_id, no_id], device=model.device)

    def __call__(self, batch: PairBatch) -> Tensor:
        """Returns logits [B, 2] of yes and no, float32, on the model's device."""
        return self._model.answer_logits(
            batch.prompt_ids,
            batch.last_positions,
            batch.context,
            self._answer_ids,
        )
