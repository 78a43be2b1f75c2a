"""`AsyncKaLMClient`: asks a server, while the event loop does other things."""

import asyncio
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


class AsyncKaLMClient:
    """`KaLMClient` for programs with an event loop (asyncio). Its calls are the same, awaited.

    Tasks may share one. A call that is cancelled closes its connection, by which the server knows
    not to begin what it has not begun. To have parts of a long list worked on at once, gather calls
    of your own.

    Args:
        base_url: As in `KaLMClient`.
        api_key: As in `KaLMClient`.
        timeout_s: As in `KaLMClient`.
        max_retries: As in `KaLMClient`.
        http_client: As in `KaLMClient`.

    Raises:
        InvalidOptionError: A setting makes no sense.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 300.0,
        max_retries: int = 4,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        self._connection = checked_connection(base_url, api_key, timeout_s, max_retries)
        self._exchange = Exchange(self._connection)
        self._owned = http_client is None
        self._http = http_client or httpx.AsyncClient(**client_options(self._connection))

    def __repr__(self) -> str:
        return f"AsyncKaLMClient({self._connection.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As `KaLMClient.close`."""
        if self._owned:
            await self._http.aclose()

    async def rank(
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
        """As `KaLMClient.rank`."""
        options = RankingOptions(
            instruction=instruction,
            top_k=top_k,
            return_documents=return_documents,
            compression_ratio=compression_ratio,
        )
        return await self._take(
            rank(self._exchange, query, documents, options, return_margin=return_margin)
        )

    async def rerank(
        self,
        query: str,
        documents: Sequence[Document],
        instruction: str | None = None,
        *,
        top_k: int | None = None,
        return_documents: bool = False,
        compression_ratio: RatioOption = UNSET,
    ) -> RerankAnswer:
        """As `KaLMClient.rerank`."""
        options = RankingOptions(
            instruction=instruction,
            top_k=top_k,
            return_documents=return_documents,
            compression_ratio=compression_ratio,
        )
        return await self._take(rerank(self._exchange, query, documents, options))

    @overload
    async def predict(
        self,
        pairs: Sequence[Pair],
        instruction: str | None = ...,
        *,
        return_margin: Literal[False] = ...,
        compression_ratio: RatioOption = ...,
    ) -> list[float]: ...

    @overload
    async def predict(
        self,
        pairs: Sequence[Pair],
        instruction: str | None = ...,
        *,
        return_margin: Literal[True],
        compression_ratio: RatioOption = ...,
    ) -> list[ScoredPair]: ...

    async def predict(
        self,
        pairs: Sequence[Pair],
        instruction: str | None = None,
        *,
        return_margin: bool = False,
        compression_ratio: RatioOption = UNSET,
    ) -> list[float] | list[ScoredPair]:
        """As `KaLMClient.predict`."""
        scored = await self._take(
            pair_calls.predict(self._exchange, pairs, instruction, compression_ratio)
        )
        return scored if return_margin else [pair.score for pair in scored]

    async def score_pairs(
        self,
        pairs: Sequence[Pair],
        instruction: str | None = None,
        *,
        compression_ratio: RatioOption = UNSET,
    ) -> ScoreAnswer:
        """As `KaLMClient.score_pairs`."""
        return await self._take(
            pair_calls.score_pairs(self._exchange, pairs, instruction, compression_ratio)
        )

    async def add(self, passages: Iterable[PassageToAdd]) -> AddAnswer:
        """As `KaLMClient.add`."""
        return await self._take(passage_calls.add(self._exchange, passages))

    async def delete(self, ids: str | Iterable[str], *, missing_ok: bool = False) -> int:
        """As `KaLMClient.delete`."""
        return await self._take(passage_calls.delete(self._exchange, ids, missing_ok=missing_ok))

    async def get(self, passage_id: str) -> StoredPassage:
        """As `KaLMClient.get`."""
        return (await self._take(passage_calls.get_many(self._exchange, [passage_id])))[0]

    async def get_many(self, ids: Iterable[str]) -> list[StoredPassage]:
        """As `KaLMClient.get_many`."""
        return await self._take(passage_calls.get_many(self._exchange, ids))

    async def search(
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
        """As `KaLMClient.search`."""
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
        return await self._take(search(self._exchange, query, options))

    async def health(self) -> Health:
        """As `KaLMClient.health`."""
        return await self._take(health(self._connection))

    async def info(self) -> dict[str, Any]:
        """As `KaLMClient.info`."""
        return await self._take(info(self._exchange))

    async def models(self) -> list[str]:
        """As `KaLMClient.models`."""
        return await self._take(models(self._exchange))

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - any JSON value
        """As `KaLMClient.request`."""
        return await self._take(request(self._exchange, method, path, body))

    async def _take(self, steps: Steps[T]) -> T:
        """Takes all steps of a call, and returns its result."""
        outcome: Outcome | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._send(step)

    async def _send(self, send: Send) -> Outcome:
        request = self._http.build_request(**request_arguments(send, self._connection))
        try:
            # httpx limits the time between two chunks, not that of all of them.
            async with asyncio.timeout(send.timeout_s):
                response = await self._http.send(request, follow_redirects=False)
        except TimeoutError:
            return NoReply("late", "the answer comes too slowly")
        except httpx.HTTPError as error:
            return no_reply(error)
        return as_reply(response, response.content)
