"""What the calls of a client return."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, overload

from kalm_reranker.scoring import ScoredPair


class RankedDocument(TypedDict):
    """One result of `rank`: as from `KaLMReranker.rank`.

    It is written here again since the reranker's own stands beside PyTorch.
    """

    corpus_id: int
    score: float
    raw_score: NotRequired[float]
    margin: NotRequired[float]
    text: NotRequired[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankedDocument:
    """One result of `rerank`.

    Attributes:
        index: Position among the documents of the call.
        score: P(yes), or what the server's calibration makes of it.
        margin: yes logit - no logit.
        raw_score: P(yes) where `score` is calibrated; None where it is not.
        text: Of a document that came as text, or that the server gave the text of.
    """

    index: int
    score: float
    margin: float
    raw_score: float | None
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankAnswer(Sequence[RerankedDocument]):
    """A ranking, with everything that the server said about it.

    Attributes:
        results: Best first.
        truncated: Indices of documents of which the server did not read the end, ascending.
        query_truncated: Whether the server did not read the query's end.
        warnings: What else is to be known, in words.
        model: The model's name.
        total_tokens: That were read.
        request_ids: Of the requests, for the server's log: several where the documents were more
            than one request may have.
    """

    results: tuple[RerankedDocument, ...]
    truncated: tuple[int, ...]
    query_truncated: bool
    warnings: tuple[str, ...]
    model: str
    total_tokens: int
    request_ids: tuple[str, ...]

    @overload
    def __getitem__(self, index: int) -> RerankedDocument: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[RerankedDocument, ...]: ...

    def __getitem__(self, index: int | slice) -> RerankedDocument | tuple[RerankedDocument, ...]:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[RerankedDocument]:
        return iter(self.results)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAnswer(Sequence[ScoredPair]):
    """Scores of pairs, with everything that the server said about them.

    Attributes:
        pairs: In the order of the call.
        truncated: Indices of pairs of whose document the server did not read the end, ascending.
        query_truncated: Whether it did not read the end of some query.
        warnings: What else is to be known, in words.
        model: The model's name.
        total_tokens: That were read.
        request_ids: Of the requests, for the server's log.
    """

    pairs: tuple[ScoredPair, ...]
    truncated: tuple[int, ...]
    query_truncated: bool
    warnings: tuple[str, ...]
    model: str
    total_tokens: int
    request_ids: tuple[str, ...]

    @overload
    def __getitem__(self, index: int) -> ScoredPair: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[ScoredPair, ...]: ...

    def __getitem__(self, index: int | slice) -> ScoredPair | tuple[ScoredPair, ...]:
        return self.pairs[index]

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[ScoredPair]:
        return iter(self.pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddAnswer:
    """What became of passages that were added.

    Attributes:
        added: New ones.
        replaced: Their text is another one now.
        metadata_updated: Only their metadata is.
        unchanged: They were there already. A passage whose first try lost its answer counts here.
        truncated: How many of the encoded ones were cut.
        warnings: What else is to be known, in words.
    """

    added: int = 0
    replaced: int = 0
    metadata_updated: int = 0
    unchanged: int = 0
    truncated: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """One passage of a search's ranking.

    Attributes:
        id: Its name.
        rank: From 1.
        score: P(yes), or what the server's calibration makes of it.
        margin: yes logit - no logit.
        text: The text; None where it was not asked for, or the index keeps none.
        metadata: As it was added; empty where there is none.
        compression_ratio: Tokens per state at which it was scored last.
        first_stage_score: Its score in the first stage; None where that gives none.
        first_stage_rank: Its rank in the first stage, from 1.
        truncated: Whether the text was cut when it was encoded.
        blended: What results are ordered by where a blend was asked for; None where it was not.
        raw_score: P(yes) where `score` is calibrated; None where it is not.
    """

    id: str
    rank: int
    score: float
    margin: float
    text: str | None
    metadata: Mapping[str, Any]
    compression_ratio: int
    first_stage_score: float | None
    first_stage_rank: int
    truncated: bool
    blended: float | None
    raw_score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAnswer(Sequence[SearchHit]):
    """A search's ranking, with everything that the server said about it.

    Attributes:
        results: Best first.
        num_candidates: Passages that were scored.
        stages: Each step of the search as the server gave it: its name, milliseconds and counts.
        warnings: What else is to be known, in words.
        model: The model's name.
        request_id: Of the request, for the server's log.
    """

    results: tuple[SearchHit, ...]
    num_candidates: int
    stages: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...]
    model: str
    request_id: str

    @overload
    def __getitem__(self, index: int) -> SearchHit: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[SearchHit, ...]: ...

    def __getitem__(self, index: int | slice) -> SearchHit | tuple[SearchHit, ...]:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[SearchHit]:
        return iter(self.results)
