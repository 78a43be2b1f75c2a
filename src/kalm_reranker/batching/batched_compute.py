"""A pipeline's `Compute` that lets the engine thread do it, together with other requests' work."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import torch
from torch import Tensor

from kalm_reranker.batching.engine_thread import EngineThread
from kalm_reranker.batching.flow import current_flow
from kalm_reranker.batching.kinds import Encode, Pair, Score
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.engine.batches import PairIndex
from kalm_reranker.engine.compute import DirectCompute, OnProgress, no_progress
from kalm_reranker.engine.prompt import Prompt


class BatchedCompute:
    """Submits work for the current flow (`working_for`) and waits for it.

    Any number of threads may wait at once. Nothing may call it in the engine's own thread.

    Args:
        thread: Runs the model.
        direct: How it does.
    """

    def __init__(self, thread: EngineThread, direct: DirectCompute) -> None:
        self._thread = thread
        self._direct = direct

    def encode(
        self,
        passages: Sequence[Sequence[int]],
        ratio: int,
        *,
        store_on: torch.device,
        on_progress: OnProgress = no_progress,
    ) -> Tensor:
        """Returns the slots [sum of C, D] of passages, in order.

        Raises:
            ServiceError: The flow was cancelled, is too late, or the engine has ended.
        """
        slots = self._wait(
            self._thread.submit(
                current_flow(),
                Encode(self._direct, ratio, store_on),
                passages,
                [len(ids) for ids in passages],
            )
        )
        on_progress(len(passages))
        if not slots:
            model = self._direct.model
            width = model.config.encoder.hidden_width
            return torch.empty(0, width, dtype=model.dtype, device=store_on)
        return torch.cat(slots)

    def score(
        self,
        prompts: Sequence[Prompt],
        states: PassageStates,
        pairs: Sequence[PairIndex],
        *,
        positions: Sequence[int] | None = None,
        on_progress: OnProgress = no_progress,
    ) -> list[float]:
        """Returns the margin of each pair, in order.

        Raises:
            NonFiniteScoreError: The model overflowed. Pairs are counted in the batch.
            ServiceError: The flow was cancelled, is too late, or the engine has ended.
        """
        items = [Pair(prompts[prompt], states, passage) for prompt, passage in pairs]
        cost = self._direct.scorer.cost
        margins = self._wait(
            self._thread.submit(
                current_flow(), Score(self._direct), items, [cost(*item) for item in items]
            )
        )
        on_progress(len(pairs))
        return margins

    def _wait(self, future: "Future[list[Any]]") -> list[Any]:
        flow = current_flow()
        try:
            results = future.result()
        finally:
            # An error holds the frames it went through, and the future holds the error.
            del future
        flow.check()  # what comes next would be for nobody
        return results
