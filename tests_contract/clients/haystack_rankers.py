"""Haystack: the rankers for TEI, Cohere and Jina."""

from collections.abc import Sequence
from typing import Any

import cohere
from haystack import Document

from tests_contract.client import Client, Ranked


def _wrap(documents: Sequence[str]) -> list[Document]:
    return [Document(content=text) for text in documents]


def _read(answer: Any, documents: Sequence[str]) -> list[Ranked]:  # noqa: ANN401
    return [Ranked(documents.index(item.content), item.score) for item in answer["documents"]]


_SHARED: dict[str, Any] = {"wrap": _wrap, "read": _read}
_CALL = "client.run(query=query, documents=documents, top_k=top_n)"
_ASYNC_CALL = "asyncio.run(client.run_async(query=query, documents=documents, top_k=top_n))"
_SECRET = "from haystack.utils import Secret\n"
_TEI_SETUP = "client = HuggingFaceTEIRanker(url=URL, token=Secret.from_token(KEY))"
_TEI_IMPORTS = (
    _SECRET + "from haystack_integrations.components.rankers.huggingface_api "
    "import HuggingFaceTEIRanker"
)

CLIENTS = [
    Client(
        name="Haystack HuggingFaceTEIRanker",
        package="huggingface-api-haystack",
        path="/rerank",
        imports=_TEI_IMPORTS,
        setup=_TEI_SETUP,
        call=_CALL,
        unauthorized=(RuntimeError,),
        overloaded=(RuntimeError,),
        retries=True,
        note="Asks for all documents and cuts the ranking itself.",
        **_SHARED,
    ),
    Client(
        name="Haystack HuggingFaceTEIRanker.run_async",
        package="huggingface-api-haystack",
        path="/rerank",
        imports="import asyncio\n" + _TEI_IMPORTS,
        setup=_TEI_SETUP,
        call=_ASYNC_CALL,
        unauthorized=(RuntimeError,),
        overloaded=(RuntimeError,),
        retries=True,
        note="Asks for all documents and cuts the ranking itself.",
        **_SHARED,
    ),
    Client(
        name="Haystack CohereRanker",
        package="cohere-haystack",
        path="/v2/rerank",
        imports=_SECRET
        + "from haystack_integrations.components.rankers.cohere import CohereRanker",
        setup=(
            'client = CohereRanker(model="pico", api_base_url=URL, api_key=Secret.from_token(KEY))'
        ),
        call=_CALL,
        unauthorized=(cohere.UnauthorizedError,),
        overloaded=(cohere.TooManyRequestsError,),
        retries=True,
        **_SHARED,
    ),
    Client(
        name="Haystack JinaRanker",
        package="jina-haystack",
        path="/v1/rerank",
        imports=_SECRET + "from haystack_integrations.components.rankers.jina import JinaRanker",
        setup=(
            'client = JinaRanker(model="pico", base_url=URL + "/v1/rerank", '
            "api_key=Secret.from_token(KEY))"
        ),
        call=_CALL,
        # What `detail` of the answer says.
        unauthorized=(RuntimeError,),
        overloaded=(RuntimeError,),
        note="Wants the full URL.",
        **_SHARED,
    ),
]
