"""The time inside the model's forward passes, apart from what the engine does around them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from kalm_reranker.engine.eager import EagerForward
from kalm_reranker.engine.prefix_cache import PrefixCache


class ForwardClock:
    """Seconds in forward passes since the last `reset`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def reset(self) -> None:
        """Starts again at 0."""
        self.seconds = 0.0

    def timed(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a method that is timed, to its end also where it runs on a device."""

        def call(*args: Any) -> Any:
            start = time.perf_counter()
            result = run(*args)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - start
            return result

        return call


@contextmanager
def forward_clock() -> Iterator[ForwardClock]:
    """Times every forward pass of the decoder inside the block: scoring, and reading passages."""
    clock = ForwardClock()
    with (
        patch.object(EagerForward, "__call__", clock.timed(EagerForward.__call__)),
        patch.object(PrefixCache, "_fill", clock.timed(PrefixCache._fill)),
    ):
        yield clock
