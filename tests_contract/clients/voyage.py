"""The voyageai SDK."""

from collections.abc import Sequence
from typing import Any

from voyageai import error

from tests_contract.client import Client, Ranked


def _read(answer: Any, documents: Sequence[str]) -> list[Ranked]:  # noqa: ANN401
    return [Ranked(item.index, item.relevance_score) for item in answer.results]


_SHARED: dict[str, Any] = {
    "package": "voyageai",
    "path": "/v1/rerank",
    "read": _read,
    "unauthorized": (error.AuthenticationError,),
    "overloaded": (error.RateLimitError,),
    "retries": True,
    "note": "Asks again only if max_retries is set.",
}
_CALL = 'client.rerank(query, documents, model="pico", top_k=top_n)'

CLIENTS = [
    Client(
        name="voyageai.Client",
        imports="import voyageai",
        setup='client = voyageai.Client(api_key=KEY, base_url=URL + "/v1", max_retries=3)',
        call=_CALL,
        **_SHARED,
    ),
    Client(
        name="voyageai.AsyncClient",
        imports="import asyncio, voyageai",
        setup='client = voyageai.AsyncClient(api_key=KEY, base_url=URL + "/v1", max_retries=3)',
        call=f"asyncio.run({_CALL})",
        **_SHARED,
    ),
]
