"""What endpoints ask of the service and what it answers, whatever the shape on the wire was."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kalm_reranker.options import UNSET, RatioOption

if TYPE_CHECKING:
    from kalm_reranker.search.filters import MetadataFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInput:
    """A document of a request: its text, or the id of a stored passage; one of the two.

    Attributes:
        text: The text.
        id: Of a passage in the server's index.
    """

    text: str | None = None
    id: str | None = None

    @property
    def stored_id(self) -> str | None:
        """The id of the stored passage that is meant; None for a text, whatever its label."""
        return self.id if self.text is None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCall:
    """Queries and documents to score.

    Attributes:
        queries: The queries.
        documents: The documents.
        pairs: (index of a query, index of a document) to score.
        instruction: Task instruction; the checkpoint's default, if None.
        compression_ratio: Tokens per state; the server's own, if not given.
        max_document_tokens: Cut documents that came as text at so many tokens of their own, if
            that is less than the server's limit.
        truncate: Cut what is too long; if False, refuse it.
        return_text: Also return the texts of documents that came as ids.
    """

    queries: tuple[str, ...]
    documents: tuple[DocumentInput, ...]
    pairs: tuple[tuple[int, int], ...]
    instruction: str | None = None
    compression_ratio: RatioOption = UNSET
    max_document_tokens: int | None = None
    truncate: bool = True
    return_text: bool = False


@dataclass(frozen=True, slots=True)
class PairResult:
    """A scored pair.

    Attributes:
        score: P(yes), or what a calibration makes of it.
        raw_score: P(yes).
        margin: yes logit - no logit.
    """

    score: float
    raw_score: float
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreResult:
    """What became of a `ScoreCall`.

    Attributes:
        pairs: Results in the order of the call's pairs.
        texts: Texts of stored documents that were asked for, by index of the document; None for
            one whose text the index does not keep.
        truncated: Indices of documents that were cut when they were encoded.
        queries_truncated: Indices of queries that were cut.
        total_tokens: Tokens of all prompts and passages that the pairs were made of, as if each
            pair had been read on its own: what usage reports.
        compression_ratio: Tokens per state that was used.
        warnings: What else the caller should know, in words.
    """

    pairs: tuple[PairResult, ...]
    texts: Mapping[int, str | None]
    truncated: tuple[int, ...]
    queries_truncated: tuple[int, ...]
    total_tokens: int
    compression_ratio: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCall:
    """A search of the server's index; `PassageIndex.search` says what each one means."""

    query: str
    top_k: int = 10
    candidates: int = 100
    instruction: str | None = None
    first_stage: str | None = None
    compression_ratio: RatioOption = UNSET
    fuse: bool | None = None
    filter: "MetadataFilter | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageInput:
    """A passage to store, as a request gave it."""

    id: str
    text: str
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddResult:
    """What became of passages to store.

    Attributes:
        added: New ones.
        replaced: Their text is another one now.
        metadata_updated: Only their metadata is.
        unchanged: They were there already.
        truncated: How many of the encoded ones were cut.
        notes: What else the caller should know.
    """

    added: int
    replaced: int
    metadata_updated: int
    unchanged: int
    truncated: int
    notes: tuple[str, ...]
