"""Bodies of rerank requests as clients of other servers send them, and what each one expects.

Versions are those whose sources were read; `Expected` says what must become of the body.
"""

from dataclasses import dataclass
from typing import Any

QUERY = "What is the capital of China?"
DOCUMENTS = [
    "Gravity attracts bodies toward one another.",
    "The capital of China is Beijing.",
    "Bread is baked in an oven.",
]
_BASE = {"query": QUERY, "documents": DOCUMENTS}
_TEXTS = {"query": QUERY, "texts": DOCUMENTS}


@dataclass(frozen=True)
class Expected:
    """What a client counts on.

    Attributes:
        results: How many.
        bare: Whether the answer is TEI's list.
        data: Whether results are also under `data`.
        documents: Whether texts come back.
        truncate: Whether long texts are cut.
        tokens: Limit of tokens per document.
    """

    results: int = 3
    bare: bool = False
    data: bool = False
    documents: bool = False
    truncate: bool = True
    tokens: int | None = None


# client -> (path, body, what it expects)
CLIENTS: dict[str, tuple[str, dict[str, Any], Expected]] = {
    "cohere 7.3.1, Client": ("/v1/rerank", {**_BASE, "model": "pico", "top_n": 2}, Expected(2)),
    "cohere 7.3.1, Client with documents": (
        "/v1/rerank",
        {
            "query": QUERY,
            "documents": [{"text": text} for text in DOCUMENTS],
            "return_documents": True,
            "max_chunks_per_doc": 10,
        },
        Expected(documents=True),
    ),
    "cohere 7.3.1, Client with rank_fields": (
        "/v1/rerank",
        {
            "query": QUERY,
            "documents": [{"title": f"{n}", "snippet": text} for n, text in enumerate(DOCUMENTS)],
            "rank_fields": ["snippet"],
            "return_documents": True,
        },
        Expected(documents=True),
    ),
    "cohere 7.3.1, ClientV2": (
        "/v2/rerank",
        {**_BASE, "model": "pico", "top_n": 2, "max_tokens_per_doc": 512, "priority": 0},
        Expected(2, tokens=512),
    ),
    "cohere 7.3.1, ClientV2 of root/v1": (
        "/v1/v2/rerank",
        {**_BASE, "model": "pico"},
        Expected(),
    ),
    "litellm 1.109.1, jina_ai": (
        "/v1/rerank",
        {**_BASE, "model": "pico", "top_n": 1, "return_documents": True},
        Expected(1, documents=True),
    ),
    "litellm 1.109.1, hosted_vllm": (
        "/rerank",
        {
            **_BASE,
            "model": "pico",
            "top_n": 2,
            "return_documents": True,
            "instruction": "Find the answer.",
            "truncate_prompt_tokens": 100,
            "truncation_side": "right",
        },
        Expected(2, documents=True, tokens=100),
    ),
    "litellm 1.109.1, voyage": (
        "/v1/rerank",
        {**_BASE, "model": "pico", "top_k": 2, "return_documents": True},
        Expected(2, data=True, documents=True),
    ),
    "litellm 1.109.1, huggingface": (
        "/rerank",
        {
            **_TEXTS,
            "raw_scores": False,
            "truncate": False,
            "truncation_direction": "Right",
            "return_text": True,
            "top_n": 1,
        },
        Expected(3, bare=True, documents=True, truncate=False),
    ),
    "voyageai 0.5.0": (
        "/v1/rerank",
        {**_BASE, "model": "pico", "top_k": None, "truncation": True},
        Expected(data=True),
    ),
    "langchain-cohere 0.6.0": (
        "/v2/rerank",
        {**_BASE, "model": "pico", "top_n": 3, "max_tokens_per_doc": None},
        Expected(),
    ),
    "infinity_client 0.0.78": (
        "/rerank",
        {
            **_BASE,
            "model": "default/not-specified",
            "return_documents": False,
            "raw_scores": False,
        },
        Expected(),
    ),
    "langchain-community 0.4.2, InfinityRerank": ("/rerank", {**_BASE, "model": None}, Expected()),
    "llama-index jinaai 0.6.0": (
        "/v1/rerank",
        {**_BASE, "model": "pico", "top_n": 2},
        Expected(2),
    ),
    "llama-index tei 0.6.0": ("/rerank", _TEXTS, Expected(bare=True)),
    "rerankers 0.10.0, cohere": (
        "/v1/rerank",
        {**_BASE, "model": "pico", "top_n": 3, "return_documents": True},
        Expected(documents=True),
    ),
    "rerankers 0.10.0, voyage": (
        "/v1/rerank",
        {**_BASE, "model": "pico", "top_k": 3, "return_documents": True},
        Expected(data=True, documents=True),
    ),
    "rerankers 0.10.0, text-embeddings-inference": (
        "/rerank",
        {**_TEXTS, "model": "pico", "top_n": 3, "return_text": True},
        Expected(bare=True, documents=True),
    ),
    "haystack, huggingface-api 3.1.0": (
        "/rerank",
        {**_TEXTS, "raw_scores": False, "truncate": True, "truncation_direction": "Right"},
        Expected(bare=True),
    ),
    "haystack, jina 2.0.1": (
        "/v1/rerank",
        {**_BASE, "model": "pico", "top_n": None},
        Expected(),
    ),
    "open-webui": ("/v1/rerank", {**_BASE, "model": "pico", "top_n": 3}, Expected()),
    "dify": (
        "/v1/rerank",
        {**_BASE, "model": "pico", "top_n": 3, "return_documents": True},
        Expected(documents=True),
    ),
    "llama.cpp": ("/reranking", {**_BASE, "model": "pico", "top_n": 3}, Expected()),
    "vllm": (
        "/rerank",
        {
            **_BASE,
            "model": "pico",
            "top_n": 0,
            "truncate_prompt_tokens": -1,
            "max_tokens_per_doc": 0,
            "use_activation": None,
            "priority": 0,
            "request_id": "r",
            "user": "u",
        },
        Expected(),
    ),
    "kalm-vllm-client": (
        "/rerank",
        {**_BASE, "instruction": "Find it.", "top_k": 1, "return_margin": True},
        Expected(1, data=True),
    ),
    "aws, as vllm": ("/invocations", {**_BASE, "model": "pico"}, Expected()),
}
