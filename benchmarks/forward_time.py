"""The time inside the model's forward passes, apart from what the engine does around them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from kalm_reranker.engine import pipeline
from kalm_reranker.engine.scorer import Forward, PairBatch, score_pairs


class ForwardClock:
    """Seconds in forward passes since the last `reset`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def reset(self) -> None:
        """Starts again at 0."""
        self.seconds = 0.0

    def timed(self, forward: Forward) -> Forward:
        """Returns a forward that is timed, to its end also where it runs on a device."""

        def call(batch: PairBatch) -> torch.Tensor:
            start = time.perf_counter()
            logits = forward(batch)
            if logits.device.type == "cuda":
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - start
            return logits

        return call


@contextmanager
def forward_clock() -> Iterator[ForwardClock]:
    """Times every forward pass that scores pairs inside the block, whichever forward it is."""
    clock = ForwardClock()

    def timed(forward: Forward, *args: Any, **options: Any) -> list[float]:
        return score_pairs(clock.timed(forward), *args, **options)

    with patch.object(pipeline, "score_pairs", timed):
        yield clock
