"""LiteLLM, under each of its names for a server of one's own."""

from collections.abc import Sequence
from typing import Any

import litellm

from tests_contract.client import Client, Ranked

_INFINITY_NOTE = (
    "Its parser wants documents as plain strings, where LiteLLM's others want objects: pass "
    "`return_documents=False`, or use `hosted_vllm/`."
)

_TEI_NOTE = (
    "TEI's API has no top_n, so all documents come back; and LiteLLM always forbids to cut long "
    "ones, so that one above the server's limit is an error: use `hosted_vllm/` for such."
)


def _read(answer: Any, documents: Sequence[str]) -> list[Ranked]:  # noqa: ANN401
    return [
        Ranked(item["index"], item["relevance_score"], (item.get("document") or {}).get("text"))
        for item in answer.results
    ]


def _provider(
    provider: str,
    path: str,
    base: str = "URL",
    *,
    name: str | None = None,
    call: str = "litellm.rerank({})",
    imports: str = "import litellm",
    texts: bool = True,
    cuts: bool = True,
    note: str = "",
) -> Client:
    flag = "" if texts else ", return_documents=False"
    arguments = (
        f'model="{provider}/pico", query=query, documents=documents, top_n=top_n, '
        f"api_base={base}, api_key=KEY{flag}"
    )
    return Client(
        name=name or f"LiteLLM {provider}/",
        package="litellm",
        path=path,
        imports=imports,
        setup="",
        call=call.format(arguments),
        read=_read,
        texts=texts,
        cuts=cuts,
        unauthorized=(litellm.AuthenticationError,),
        overloaded=(litellm.RateLimitError,),
        note=note,
    )


CLIENTS = [
    _provider("cohere", "/v2/rerank"),
    _provider("jina_ai", "/v1/rerank"),
    _provider("hosted_vllm", "/rerank"),
    _provider(
        "hosted_vllm", "/v1/rerank", 'URL + "/v1"', name="LiteLLM hosted_vllm/, URL with /v1"
    ),
    _provider("huggingface", "/rerank", cuts=False, note=_TEI_NOTE),
    _provider("voyage", "/v1/rerank", 'URL + "/v1"'),
    _provider("infinity", "/rerank", texts=False, note=_INFINITY_NOTE),
    _provider(
        "cohere",
        "/v2/rerank",
        name="LiteLLM arerank cohere/",
        imports="import asyncio, litellm",
        call="asyncio.run(litellm.arerank({}, return_documents=True))",
    ),
]
