"""What an evaluation asks of anything that orders candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kalm_reranker.evaluation.results import RankerInfo
from kalm_reranker.search.ranking import Run


@dataclass(frozen=True, kw_only=True)
class RankingTask:
    """A dataset as rankers see it: texts and candidates, no judgements.

    Attributes:
        dataset: Its name.
        instruction: Task instruction for rankers that read one; None for each model's own.
        passages: Passage id -> text, at least all candidates.
        queries: Query id -> text, at least those of `candidates`.
        candidates: What to order; the scores are the first stage's.
        folder: Where a ranker may keep states or vectors for the next evaluation. Its own: no
            other ranker writes there. It need not exist.
        query_instructions: Query id -> its own task instruction, where a query has one.
    """

    dataset: str
    instruction: str | None
    passages: Mapping[str, str]
    queries: Mapping[str, str]
    candidates: Run
    folder: Path
    query_instructions: Mapping[str, str] = field(default_factory=dict)

    @property
    def candidate_ids(self) -> list[str]:
        """Every passage that is a candidate of some query, once, in order of appearance."""
        return list(
            dict.fromkeys(passage_id for found in self.candidates.values() for passage_id in found)
        )

    def instruction_for(self, query_id: str) -> str | None:
        """Returns the instruction of a query: its own, else the dataset's, else None."""
        return self.query_instructions.get(query_id, self.instruction)


class Ranker(Protocol):
    """Gives every candidate of a query a score.

    `prepare` comes first, once for a dataset, then any number of `score`; another `prepare` starts
    another dataset. `close` comes last.
    """

    @property
    def info(self) -> RankerInfo:
        """What it is, and all that is needed to repeat what it does."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its numbers on the dataset that was prepared last has to know."""
        ...

    def prepare(self, task: RankingTask) -> None:
        """Does what is done once for a dataset: encodes passages, or finds them encoded."""
        ...

    def score(self, query_id: str, query: str, candidate_ids: Sequence[str]) -> Mapping[str, float]:
        """Returns the score of each of these candidates, higher is better; all are finite."""
        ...

    def bytes_per_passage(self) -> float | None:
        """Returns the mean size of what is stored for a candidate passage; None for nothing."""
        ...

    def close(self) -> None:
        """Lets go of models and files; a second call does nothing."""
        ...
