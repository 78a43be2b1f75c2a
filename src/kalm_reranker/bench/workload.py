"""What all ways are given, and what a way is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kalm_reranker.bench.report import Way
from kalm_reranker.encoding.states import PassageStates


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One point of a benchmark.

    Args:
        query: The query.
        instruction: The task instruction.
        documents: The candidates, each of `length` tokens.
        length: Tokens of a passage.
        ratio: Tokens per slot.
        states: States of the candidates at that ratio, in main memory. They have no identities, so
            that nothing is kept of them from one call to the next.
        kept_states: The same with identities.
    """

    query: str
    instruction: str
    documents: Sequence[str]
    length: int
    ratio: int
    states: PassageStates
    kept_states: PassageStates


class Scorer(Protocol):
    """A way to score candidates that has its model loaded."""

    @property
    def way(self) -> Way:
        """Which way it is."""
        ...

    def score(self, work: Workload, count: int) -> list[float]:
        """Scores the first `count` candidates, from text to numbers in main memory."""
        ...
