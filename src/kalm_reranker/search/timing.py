"""A log of a search's stages."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from kalm_reranker.search.results import Stage


class StageLog:
    """Times stages one after another."""

    def __init__(self) -> None:
        self._stages: list[Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, int]]:
        """Times the block; what it writes into the dictionary are the stage's counts."""
        counts: dict[str, int] = {}
        start = time.perf_counter()
        yield counts
        self._stages.append(Stage(name, time.perf_counter() - start, counts))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What was timed, in order."""
        return tuple(self._stages)
