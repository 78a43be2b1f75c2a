"""`KaLMClient`: asks a server, and waits for the answer."""

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import httpx

from kalm_reranker.client import pairs as pair_calls
from kalm_reranker.client import passages as passage_calls
from kalm_reranker.client.answers import (
    AddAnswer,
    RankedDocument,
    RerankAnswer,
    ScoreAnswer,
    SearchAnswer,
)
from kalm_reranker.client.connection import checked_connection
from kalm_reranker.client.documents import Document, StoredPassage
from kalm_reranker.client.exchange import Exchange
from kalm_reranker.client.over_httpx import as_reply, client_options, no_reply, request_arguments
from kalm_reranker.client.pairs import Pair
from kalm_reranker.client.passages import PassageToAdd
from kalm_reranker.client.ranking import RankingOptions, rank, rerank
from kalm_reranker.client.searching import SearchOptions, search
from kalm_reranker.client.status import Health, health, info, models, request
from kalm_reranker.client.steps import NoReply, Outcome, Pause, Send, Steps
from kalm_reranker.options import UNSET, RatioOption
from kalm_reranker.scoring import ScoredPair

T = TypeVar("T")


class KaLMClient:
    """Asks a server that `kalm serve` started. Threads may share one.

    Its calls are those of `KaLMReranker` and `PassageIndex`, with the same results. Where a
    list is longer than a request may be, it is sent in several, one after another.

    A request is sent again when the server is busy or not ready (429, 502, 503), after as long as
    it asks for (`Retry-After`) or a random pause whose limit doubles; and when there was no
    connection, or it broke. That is safe: what was done already is scored, searched or added
    again with the same outcome, and adding what is there changes nothing. Only `delete` is not sent
    again after a connection broke, unless `missing_ok`. No other refusal is retried.

    Args:
        base_url: The server's root, without /v1.
        api_key: The server's key; from the environment (KALM_API_KEY), if not given.
        timeout_s: Seconds a request may take, its tries and pauses included.
        max_retries: Tries after the first.
        http_client: To send with, for certificates or proxies of your own; it is not closed here.

    Raises:
        InvalidOptionError: A setting makes no sense.

    All calls raise

        InputError              what is wrong with the arguments, before anything is sent
        ServerRefusedError      the server's status, its name for the error, and its words
        ServerUnreachableError  no answer within `timeout_s`
        ClientError             an answer that is not a `kalm serve`'s
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 300.0,
        max_retries: int = 4,
        http_client: httpx.Client | None = None,
    ) -> None:
        self._connection = checked_connection(base_url, api_key, timeout_s, max_retries)
        self._exchange = Exchange(self._connection)
        self._owned = http_client is None
        self._http = http_client or httpx.Client(**client_options(self._connection))

    def __repr__(self) -> str:
        return f"KaLMClient({self._connection.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections, unless they are those of the `http_client` given."""
        if self._owned:
            self._http.close()

    def rank(
        self,
        query: str,
        documents: Sequence[Document],
        instruction: str | None = None,
        *,
        top_k: int | None = None,
        return_documents: bool = False,
        return_margin: bool = False,
        compression_ratio: RatioOption = UNSET,
    ) -> list[RankedDocument]:
        """Sorts documents by relevance to a query, as `KaLMReranker.rank` does.

        What the server warns of, and which documents it cut, is logged as a warning; `rerank`
        returns it.

        Args:
            query: The query.
            documents: Texts, or passages of the server's index: `StoredPassage(id)` or
                {"id": id}. An empty list gives an empty list.
            instruction: The task instruction; the server's model's own, if not given.
            top_k: Return only the best; all of them, if not given.
            return_documents: Add the document's `text` to each result; of a stored passage where
                the index keeps texts.
            return_margin: Add the `margin`, yes logit - no logit, to each result.
            compression_ratio: For this call; the server's own, if not given.

        Returns:
            Results sorted by falling score; equal ones keep the order of `documents`.
        """
        options = RankingOptions(
            instruction=instruction,
            top_k=top_k,
            return_documents=return_documents,
            compression_ratio=compression_ratio,
        )
        return self._take(
            rank(self._exchange, query, documents, options, return_margin=return_margin)
        )

    def rerank(
        self,
        query: str,
        documents: Sequence[Document],
        instruction: str | None = None,
        *,
        top_k: int | None = None,
        return_documents: bool = False,
        compression_ratio: RatioOption = UNSET,
    ) -> RerankAnswer:
        """Sorts documents like `rank`, and returns all that the server said about it.

        Returns:
            The ranking, with what was cut, warnings, tokens and request ids.
        """
        options = RankingOptions(
            instruction=instruction,
            top_k=top_k,
            return_documents=return_documents,
            compression_ratio=compression_ratio,
        )
        return self._take(rerank(self._exchange, query, documents, options))

    @overload
    def predict(
        self,
        pairs: Sequence[Pair],
        instruction: str | None = ...,
        *,
        return_margin: Literal[False] = ...,
        compression_ratio: RatioOption = ...,
    ) -> list[float]: ...

    @overload
    def predict(
        self,
        pairs: Sequence[Pair],
        instruction: str | None = ...,
        *,
        return_margin: Literal[True],
        compression_ratio: RatioOption = ...,
    ) -> list[ScoredPair]: ...

    def predict(
        self,
        pairs: Sequence[Pair],
        instruction: str | None = None,
        *,
        return_margin: bool = False,
        compression_ratio: RatioOption = UNSET,
    ) -> list[float] | list[ScoredPair]:
        """Scores (query, document) pairs, as `KaLMReranker.predict` does.

        What the server warns of, and which documents it cut, is logged as a warning;
        `score_pairs` returns it.

        Args:
            pairs: The pairs, any number; documents as in `rank`.
            instruction: The task instruction; the server's model's own, if not given.
            return_margin: Also return the margin, yes logit - no logit.
            compression_ratio: For this call; the server's own, if not given.

        Returns:
            The score of each pair, in the order of `pairs`; with `return_margin` a list of
            `ScoredPair(score, margin)`.
        """
        scored = self._take(
            pair_calls.predict(self._exchange, pairs, instruction, compression_ratio)
        )
        return scored if return_margin else [pair.score for pair in scored]

    def score_pairs(
        self,
        pairs: Sequence[Pair],
        instruction: str | None = None,
        *,
        compression_ratio: RatioOption = UNSET,
    ) -> ScoreAnswer:
        """Scores pairs like `predict`, and returns all that the server said about them."""
        return self._take(
            pair_calls.score_pairs(self._exchange, pairs, instruction, compression_ratio)
        )

    def add(self, passages: Iterable[PassageToAdd]) -> AddAnswer:
        """Adds passages to the server's index: new ones, and new texts for known ids.

        Args:
            passages: `Passage`s, mappings with "id", "text" and perhaps "metadata", or (id, text)
                pairs; any number, read as they are needed. What one request held is on the
                server's disk when the next is sent.

        Returns:
            What was done, in numbers.
        """
        return self._take(passage_calls.add(self._exchange, passages))

    def delete(self, ids: str | Iterable[str], *, missing_ok: bool = False) -> int:
        """Deletes passages of the server's index.

        Args:
            ids: An id or several. Those of one request are deleted all or, where one is missing,
                none; more than fit into a URL of 4,000 characters, or than the server takes at
                once, go in several.
            missing_ok: Leave out ids that do not exist.

        Returns:
            How many were deleted.
        """
        return self._take(passage_calls.delete(self._exchange, ids, missing_ok=missing_ok))

    def get(self, passage_id: str) -> StoredPassage:
        """Returns a passage of the server's index, with text and metadata."""
        return (self._take(passage_calls.get_many(self._exchange, [passage_id])))[0]

    def get_many(self, ids: Iterable[str]) -> list[StoredPassage]:
        """Returns a passage of the server's index for each id, in their order."""
        return self._take(passage_calls.get_many(self._exchange, ids))

    def search(
        self,
        query: str,
        top_k: int = 10,
        *,
        candidates: int | None = None,
        instruction: str | None = None,
        first_stage: str | None = None,
        compression_ratio: RatioOption = UNSET,
        fuse: bool | None = None,
        filter: Mapping[str, Any] | None = None,
        return_documents: bool = True,
    ) -> SearchAnswer:
        """Finds the passages of the server's index that answer a query.

        Args:
            query: The query.
            top_k: Results wanted.
            candidates: Passages the first stage hands to the reranker; the server's own number, if
                not given.
            instruction: The task instruction; the server's model's own, if not given.
            first_stage: "bm25", "dense" or "hybrid"; the index's own, if not given.
            compression_ratio: A multiple of the index's; its own plan, if not given.
            fuse: Order by the blend of margin and first-stage score; the model's choice, if not
                given.
            filter: Conditions on the metadata, as in `kalm_reranker.search.filters`.
            return_documents: Also return the texts.

        Returns:
            The results, best first, with the stages of the search and what the server warned of.
        """
        options = SearchOptions(
            top_k=top_k,
            candidates=candidates,
            instruction=instruction,
            first_stage=first_stage,
            compression_ratio=compression_ratio,
            fuse=fuse,
            filter=filter,
            return_documents=return_documents,
        )
        return self._take(search(self._exchange, query, options))

    def health(self) -> Health:
        """Returns how the server is, also while it loads or ends. Asks once."""
        return self._take(health(self._connection))

    def info(self) -> dict[str, Any]:
        """Returns what the server says of its model and its limits."""
        return self._take(info(self._exchange))

    def models(self) -> list[str]:
        """Returns the names that the server's model answers to."""
        return self._take(models(self._exchange))

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - any JSON value
        """Sends a request of your own, with the same retries, and returns the answer's JSON.

        Args:
            method: "GET", "POST" or "DELETE".
            path: From the server's root, such as "/v2/rerank".
            body: A JSON object, or None.
        """
        return self._take(request(self._exchange, method, path, body))

    def _take(self, steps: Steps[T]) -> T:
        """Takes all steps of a call, and returns its result."""
        outcome: Outcome | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                outcome = None
            else:
                outcome = self._send(step)

    def _send(self, send: Send) -> Outcome:
        deadline = time.monotonic() + send.timeout_s
        request = self._http.build_request(**request_arguments(send, self._connection))
        try:
            response = self._http.send(request, stream=True, follow_redirects=False)
            try:
                chunks = []
                for chunk in response.iter_bytes():
                    # httpx limits the time between two chunks, not that of all of them.
                    if time.monotonic() > deadline:
                        return NoReply("late", "the answer comes too slowly")
                    chunks.append(chunk)
            finally:
                response.close()
        except httpx.HTTPError as error:
            return no_reply(error)
        return as_reply(response, b"".join(chunks))
