"""Applications with a rerank client of their own, by what their sources send and read.

The applications themselves are not installed: each function says the request and reads the answer
as one of them does, so that its users' servers keep working.
"""

from collections.abc import Sequence
from typing import Any

from tests_contract import plain
from tests_contract.client import Client, Ranked


class StatusError(Exception):
    """What `raise_for_status` is to them."""


def open_webui(url: str, key: str, query: str, documents: list[str]) -> list[Ranked]:
    """Asks as Open WebUI's external reranking engine does, whose setting is the full URL.

    It wants a score for each document, and sorts results by index to get them.
    """
    body = {"model": "pico", "query": query, "documents": documents, "top_n": len(documents)}
    results = sorted(_post(url, key, body)["results"], key=lambda item: item["index"])
    scores = [float(item["relevance_score"]) for item in results]
    assert len(scores) == len(documents)
    order = sorted(range(len(documents)), key=lambda index: -scores[index])
    return [Ranked(index, scores[index]) for index in order]


def dify(endpoint_url: str, key: str, query: str, documents: list[str], top_n: int) -> list[Ranked]:
    """Asks as Dify's OpenAI-API-compatible provider does, which appends `/rerank` to its setting.

    It rescales scores from the lowest to the highest of the answer, and keeps this order.
    """
    body = {
        "model": "pico",
        "query": query,
        "documents": documents,
        "top_n": top_n,
        "return_documents": True,
    }
    results = _post(f"{endpoint_url}/rerank", key, body)["results"]
    scores = [item["relevance_score"] for item in results]
    span = max(scores) - min(scores)
    rescaled = [(score - min(scores)) / span if span else 1.0 for score in scores]
    assert rescaled == sorted(rescaled, reverse=True)
    assert all(0 <= score <= 1 for score in rescaled)
    return [Ranked(item["index"], item["relevance_score"], _text(item)) for item in results]


def ragflow(base_url: str, key: str, query: str, documents: list[str]) -> list[Ranked]:
    """Asks as RAGFlow's OpenAI-API-Compatible provider does, which appends `/rerank` if missing.

    It puts scores in an array by index and rescales that.
    """
    url = base_url if "/rerank" in base_url else f"{base_url.rstrip('/')}/rerank"
    body = {"model": "pico", "query": query, "documents": documents, "top_n": len(documents)}
    scores = [0.0] * len(documents)
    for item in _post(url, key, body)["results"]:
        scores[item["index"]] = item["relevance_score"]
    order = sorted(range(len(documents)), key=lambda index: -scores[index])
    return [Ranked(index, scores[index]) for index in order]


def _text(item: dict[str, Any]) -> str:
    document = item["document"]
    return str(document["text"] if isinstance(document, dict) else document)


def _post(url: str, key: str, body: dict[str, object]) -> dict[str, Any]:
    status, answer = plain.request(url, key, body)
    if status != 200:
        raise StatusError(status, answer)
    assert isinstance(answer, dict)
    return answer


def _read(answer: list[Ranked], documents: Sequence[str]) -> list[Ranked]:
    return answer


_SHARED: dict[str, Any] = {
    "package": None,
    "setup": "",
    "read": _read,
    "unauthorized": (StatusError,),
    "overloaded": (StatusError,),
}
_IMPORTS = "from tests_contract.clients import applications"
_NOT_INSTALLED = "Its request and its reading of the answer, not the application itself."

CLIENTS = [
    Client(
        name="Open WebUI, external reranking",
        path="/v1/rerank",
        imports=_IMPORTS,
        call='applications.open_webui(URL + "/v1/rerank", KEY, query, documents)',
        cuts=False,
        settings="Reranking engine: external; URL: URL/v1/rerank; key: KEY; model: pico",
        note=_NOT_INSTALLED,
        **_SHARED,
    ),
    Client(
        name="Dify, OpenAI-API-compatible rerank",
        path="/v1/rerank",
        imports=_IMPORTS,
        call='applications.dify(URL + "/v1", KEY, query, documents, top_n)',
        texts=True,
        settings="API endpoint URL: URL/v1; API key: KEY; model name: pico",
        note=f"{_NOT_INSTALLED} It rescales scores, so thresholds mean something else there.",
        **_SHARED,
    ),
    Client(
        name="RAGFlow, OpenAI-API-Compatible rerank",
        path="/v1/rerank",
        imports=_IMPORTS,
        call='applications.ragflow(URL + "/v1/rerank", KEY, query, documents)',
        cuts=False,
        settings="Base URL: URL/v1/rerank; API key: KEY; model name: pico",
        note=(
            f"{_NOT_INSTALLED} It rescales scores, so thresholds mean something else there. "
            "Given a URL without /rerank, versions differ in where they put it; give the full one."
        ),
        **_SHARED,
    ),
]
