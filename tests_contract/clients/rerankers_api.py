"""rerankers, whose APIRanker speaks several APIs at a URL of one's own."""

from collections.abc import Sequence
from typing import Any

from tests_contract.client import Client, Ranked


def _read(answer: Any, documents: Sequence[str]) -> list[Ranked]:  # noqa: ANN401
    return [Ranked(item.document.doc_id, item.score) for item in answer.results]


def _provider(provider: str, path: str, error: type[Exception]) -> Client:
    return Client(
        name=f"rerankers, {provider}",
        package="rerankers",
        path=path,
        imports="from rerankers import Reranker",
        setup=(
            'client = Reranker("pico", model_type="APIRanker", api_provider='
            f'"{provider}", api_key=KEY, url=URL + "{path}", verbose=0)'
        ),
        call="client.rank(query, documents)",
        read=_read,
        cuts=False,
        # It does not look at the status: what is missing in the answer is what its users see.
        unauthorized=(error,),
        overloaded=(error,),
        note="Takes no top_n: its users cut the ranking with `top_k(n)`.",
    )


CLIENTS = [
    _provider("cohere", "/v1/rerank", KeyError),
    _provider("jina", "/v1/rerank", KeyError),
    _provider("voyage", "/v1/rerank", KeyError),
    _provider("text-embeddings-inference", "/rerank", TypeError),
]
