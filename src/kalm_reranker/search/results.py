"""What a search returns."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, overload

from kalm_reranker.scoring import score_from_margin


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """One passage of a ranked list.

    Attributes:
        id: Its name.
        rank: From 1.
        score: P(yes) at `compression_ratio`, or what a calibration makes of it.
        margin: yes logit - no logit, at `compression_ratio`.
        text: The text; None where the index keeps none.
        metadata: As it was added; empty where there is none.
        compression_ratio: Tokens per state at which it was scored last.
        truncated: Whether the text was cut at the length limit when it was encoded.
        first_stage_score: Its score in the first stage; None where that gives none.
        first_stage_rank: Its rank in the first stage, from 1.
        blended: The sum of the z-scores of margin and first-stage score, by which results are
            ordered where a blend was asked for; comparable between results of one ratio. None
            where results are ordered by margin.
    """

    id: str
    rank: int
    score: float
    margin: float
    text: str | None
    metadata: dict[str, Any]
    compression_ratio: int
    truncated: bool
    first_stage_score: float | None
    first_stage_rank: int
    blended: float | None

    @property
    def raw_score(self) -> float:
        """P(yes) of the model itself: `score` where there is no calibration."""
        return score_from_margin(self.margin)

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields and the raw score by name, for JSON."""
        return {**asdict(self), "raw_score": self.raw_score}


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a search.

    Attributes:
        name: What was done, such as "bm25", "read states" or "score".
        seconds: Wall clock.
        counts: How much, by name.
    """

    name: str
    seconds: float
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResults(Sequence[SearchResult]):
    """A ranked list, with what is to be known about how it came about.

    Attributes:
        results: Best first.
        num_candidates: Passages that were scored.
        stages: Each step with its time and counts, in order.
        damaged: Candidates left out because their bytes on disk are not what was written, in
            words that name them.
        notes: Anything else that is not as it would be expected, in words.
    """

    results: tuple[SearchResult, ...]
    num_candidates: int
    stages: tuple[Stage, ...] = ()
    damaged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> SearchResult: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[SearchResult, ...]: ...

    def __getitem__(self, index: int | slice) -> SearchResult | tuple[SearchResult, ...]:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[SearchResult]:
        return iter(self.results)

    def at_least(self, score: float) -> "SearchResults":
        """Returns the results with at least this score, ranks and all else as they are."""
        return replace(self, results=tuple(one for one in self.results if one.score >= score))

    @property
    def seconds(self) -> float:
        """Wall clock of all stages together."""
        return sum(stage.seconds for stage in self.stages)
