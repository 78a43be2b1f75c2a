"""LlamaIndex: the postprocessors for Cohere, Jina and TEI."""

from collections.abc import Sequence
from typing import Any

import cohere
from llama_index.core.schema import NodeWithScore, TextNode

from tests_contract.client import Client, Ranked


def _wrap(documents: Sequence[str]) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text)) for text in documents]


def _read(answer: Any, documents: Sequence[str]) -> list[Ranked]:  # noqa: ANN401
    return [Ranked(documents.index(item.node.text), item.score) for item in answer]


_SHARED: dict[str, Any] = {
    "call": "client.postprocess_nodes(documents, query_str=query)",
    "wrap": _wrap,
    "read": _read,
}

CLIENTS = [
    Client(
        name="LlamaIndex CohereRerank",
        package="llama-index-postprocessor-cohere-rerank",
        path="/v2/rerank",
        imports="from llama_index.postprocessor.cohere_rerank import CohereRerank",
        setup='client = CohereRerank(model="pico", base_url=URL, api_key=KEY, top_n=top_n)',
        unauthorized=(cohere.UnauthorizedError,),
        overloaded=(cohere.TooManyRequestsError,),
        retries=True,
        **_SHARED,
    ),
    Client(
        name="LlamaIndex JinaRerank",
        package="llama-index-postprocessor-jinaai-rerank",
        path="/v1/rerank",
        imports="from llama_index.postprocessor.jinaai_rerank import JinaRerank",
        setup='client = JinaRerank(model="pico", base_url=URL + "/v1", api_key=KEY, top_n=top_n)',
        # What `detail` of the answer says.
        unauthorized=(RuntimeError,),
        overloaded=(RuntimeError,),
        **_SHARED,
    ),
    Client(
        name="LlamaIndex TextEmbeddingInference",
        package="llama-index-postprocessor-tei-rerank",
        path="/rerank",
        imports="from llama_index.postprocessor.tei_rerank import TextEmbeddingInference",
        setup=(
            'client = TextEmbeddingInference(base_url=URL, auth_token="Bearer " + KEY, top_n=top_n)'
        ),
        # It does not look at the status: an error is an answer of the wrong form.
        unauthorized=(AssertionError, TypeError),
        overloaded=(AssertionError, TypeError),
        note="Asks for all documents and cuts the ranking itself; the token is the whole header.",
        **_SHARED,
    ),
]
