"""The cohere SDK, v1 and v2, with either form of base URL."""

from collections.abc import Sequence
from typing import Any

import cohere

from tests_contract.client import Client, Ranked


def _read(answer: Any, documents: Sequence[str]) -> list[Ranked]:  # noqa: ANN401
    return [
        Ranked(item.index, item.relevance_score, _text(getattr(item, "document", None)))
        for item in answer.results
    ]


def _text(document: Any) -> str | None:  # noqa: ANN401  an object in v1, absent in v2
    return None if document is None else str(document.text)


_ERRORS: dict[str, Any] = {
    "unauthorized": (cohere.UnauthorizedError,),
    "overloaded": (cohere.TooManyRequestsError,),
    "retries": True,
}
_V1_CALL = (
    'client.rerank(model="pico", query=query, documents=documents, top_n=top_n,'
    " return_documents=True)"
)
_V2_CALL = 'client.rerank(model="pico", query=query, documents=documents, top_n=top_n)'

CLIENTS = [
    Client(
        name="cohere.Client",
        package="cohere",
        path="/v1/rerank",
        imports="import cohere",
        setup="client = cohere.Client(api_key=KEY, base_url=URL)",
        call=_V1_CALL,
        read=_read,
        texts=True,
        **_ERRORS,
    ),
    Client(
        name="cohere.ClientV2",
        package="cohere",
        path="/v2/rerank",
        imports="import cohere",
        setup="client = cohere.ClientV2(api_key=KEY, base_url=URL)",
        call=_V2_CALL,
        read=_read,
        **_ERRORS,
    ),
    Client(
        name="cohere.ClientV2, URL with /v1",
        package="cohere",
        path="/v1/v2/rerank",
        imports="import cohere",
        setup='client = cohere.ClientV2(api_key=KEY, base_url=URL + "/v1")',
        call=_V2_CALL,
        read=_read,
        note="The SDK puts /v2/rerank behind whatever it is given.",
        **_ERRORS,
    ),
    Client(
        name="cohere.AsyncClientV2",
        package="cohere",
        path="/v2/rerank",
        imports="import asyncio, cohere",
        setup="client = cohere.AsyncClientV2(api_key=KEY, base_url=URL)",
        call=f"asyncio.run({_V2_CALL})",
        read=_read,
        **_ERRORS,
    ),
]
