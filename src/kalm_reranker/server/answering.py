"""What endpoints may ask of a model that is loaded: the one interface between HTTP and engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kalm_reranker.server.calls import (
    AddResult,
    PassageInput,
    ScoreCall,
    ScoreResult,
    SearchCall,
)

if TYPE_CHECKING:
    from kalm_reranker.search.results import SearchResults
    from kalm_reranker.store.passage import Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a server says of its model.

    Attributes:
        name: Short name or hub id; of a directory its last part, never a path.
        fingerprint: Hash of config, tokenizer and weights.
        dtype: Of the weights.
        device: "cpu", "cuda:0", ...
        engine: "eager", "fused" or "compiled".
        quantization: "int8" or "none".
        compression_ratio: Tokens per state, if a request does not say.
        max_length: Tokens a document is cut at, `<Document>: ` included.
        document_prefix_tokens: Tokens of that prefix.
        query_max_length: Tokens a query is cut at.
        long_documents: "truncate" or "windows".
        special_tokens: "text" or "control".
        deterministic: Whether each pair has a forward pass of its own.
        default_instruction: Task instruction, if a request does not say.
        calibrated: Whether scores are calibrated.
        index_passages: Passages in the index; None without one.
        index_ratio: Base ratio of the index; None without one.
        created: Unix time at which the model was loaded.
    """

    name: str
    fingerprint: str
    dtype: str
    device: str
    engine: str
    quantization: str
    compression_ratio: int
    max_length: int
    document_prefix_tokens: int
    query_max_length: int
    long_documents: str
    special_tokens: str
    deterministic: bool
    default_instruction: str
    calibrated: bool
    index_passages: int | None
    index_ratio: int | None
    created: int


class Answering(Protocol):
    """A model, and an index where there is one, that answer calls. Used from one event loop.

    All coroutines can be cancelled: work that has not started is then not done. `deadline` is a
    time of `time.monotonic()`. They raise

        InputError            the call makes no sense (400)
        UnknownPassageError   an id is not in the index (404)
        NoIndexError          there is no index (404)
        RequestTooLargeError  too many documents (413)
        DeadlineExceededError (504)
        NotReadyError         the engine has stopped (503)
        StoreBusyError        another process writes to the index (503)
        NonFiniteScoreError, StoreError, ...   (500)

    and their messages hold no path for all but the last line.
    """

    async def score(self, call: ScoreCall, deadline: float) -> ScoreResult:
        """Scores pairs."""
        ...

    async def search(self, call: SearchCall, deadline: float) -> "SearchResults":
        """Searches the index."""
        ...

    async def add(self, passages: Sequence[PassageInput], deadline: float) -> AddResult:
        """Stores passages, and is durable when it returns; what is there already costs nothing."""
        ...

    async def delete(self, ids: Sequence[str], *, missing_ok: bool) -> int:
        """Deletes passages, all or none, and returns how many there were."""
        ...

    async def get(self, ids: Sequence[str]) -> "list[Passage]":
        """Returns stored passages, in order."""
        ...

    def facts(self) -> ModelFacts:
        """Returns what is to be said of the model."""
        ...

    def counts(self) -> dict[str, Any]:
        """Returns running totals by name (docs/serving.md lists them), for metrics and `/info`."""
        ...

    def close(self) -> None:
        """Stops the engine and closes the index; blocks until the batch that runs has ended."""
        ...
