"""Examples of requests for the API's documentation, by the API whose clients send them."""

from typing import Any, Final, TypeAlias

_Examples: TypeAlias = dict[str, dict[str, Any]]

_QUERY = "What is the capital of China?"
_RIGHT = "The capital of China is Beijing."
_WRONG = "Gravity attracts bodies toward one another."
_TEXTS = [_RIGHT, _WRONG]


def _example(summary: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "value": value}


RERANK: Final[_Examples] = {
    "kalm": _example(
        "KaLM: margins beside scores",
        {
            "query": _QUERY,
            "documents": _TEXTS,
            "instruction": "Given a query, retrieve documents that answer the query.",
            "top_k": 1,
            "return_margin": True,
        },
    ),
    "cohere_v2": _example(
        "Cohere v2", {"query": _QUERY, "documents": _TEXTS, "top_n": 1, "max_tokens_per_doc": 4096}
    ),
    "cohere_v1": _example(
        "Cohere v1: documents with fields",
        {
            "query": _QUERY,
            "documents": [
                {"title": "Beijing", "body": _RIGHT},
                {"title": "Gravity", "body": _WRONG},
            ],
            "rank_fields": ["title", "body"],
            "return_documents": True,
        },
    ),
    "jina": _example(
        "Jina", {"query": _QUERY, "documents": _TEXTS, "top_n": 1, "return_documents": True}
    ),
    "voyage": _example(
        "Voyage: results also in data",
        {"query": _QUERY, "documents": _TEXTS, "top_k": 1, "truncation": True},
    ),
    "vllm": _example(
        "vLLM",
        {"query": _QUERY, "documents": _TEXTS, "top_n": 0, "truncate_prompt_tokens": -1},
    ),
    "infinity": _example(
        "Infinity",
        {"query": _QUERY, "documents": _TEXTS, "return_documents": False, "raw_scores": False},
    ),
    "llama_cpp": _example("llama.cpp", {"query": _QUERY, "documents": _TEXTS, "top_n": 2}),
    "tei": _example(
        "text-embeddings-inference: a bare list comes back",
        {
            "query": _QUERY,
            "texts": _TEXTS,
            "raw_scores": False,
            "return_text": True,
            "truncate": True,
        },
    ),
    "stored": _example(
        "Stored passages beside a text; needs an index",
        {
            "query": _QUERY,
            "documents": [{"id": "beijing"}, {"id": "gravity"}, _WRONG],
            "return_documents": True,
        },
    ),
    "coarser": _example(
        "Another compression ratio, and no silent cuts",
        {"query": _QUERY, "documents": _TEXTS, "compression_ratio": 8, "truncate": False},
    ),
}

SCORE: Final[_Examples] = {
    "kalm": _example(
        "KaLM: pairs with ids",
        {
            "pairs": [
                {"id": "right", "query": _QUERY, "document": _RIGHT},
                {"id": "wrong", "query": _QUERY, "document": _WRONG},
            ],
            "return_margin": True,
        },
    ),
    "vllm": _example("vLLM: a query and documents", {"queries": _QUERY, "documents": _TEXTS}),
    "vllm_older": _example(
        "vLLM: lists of one length",
        {"text_1": [_QUERY, "What attracts bodies?"], "text_2": _TEXTS},
    ),
}

ADD_PASSAGES: Final[_Examples] = {
    "several": _example(
        "Several",
        {
            "passages": [
                {"id": "beijing", "text": _RIGHT, "metadata": {"lang": "en", "year": 2024}},
                {"id": "gravity", "text": _WRONG},
            ]
        },
    ),
    "one": _example("One", {"id": "beijing", "text": _RIGHT}),
}

SEARCH: Final[_Examples] = {
    "plain": _example("The best five", {"query": _QUERY, "top_k": 5}),
    "filtered": _example(
        "Only some passages",
        {
            "query": _QUERY,
            "top_k": 5,
            "candidates": 50,
            "filter": {"lang": "en", "year": {"$gte": 2020}},
            "return_margin": True,
        },
    ),
}
