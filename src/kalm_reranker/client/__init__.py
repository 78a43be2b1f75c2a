"""Clients of a server, for Python: the calls of `KaLMReranker` and `PassageIndex`, over HTTP.

Nothing here imports PyTorch: a program that asks a server needs httpx, and no model.
"""

from kalm_reranker.extras import import_extra

# Here, once for all modules of the room, which import it at their tops.
import_extra("httpx", extra="client", purpose="A client of a server")

from kalm_reranker.client.answers import (  # noqa: E402
    AddAnswer,
    RankedDocument,
    RerankAnswer,
    RerankedDocument,
    ScoreAnswer,
    SearchAnswer,
    SearchHit,
)
from kalm_reranker.client.async_client import AsyncKaLMClient  # noqa: E402
from kalm_reranker.client.documents import StoredPassage  # noqa: E402
from kalm_reranker.client.status import Health  # noqa: E402
from kalm_reranker.client.sync_client import KaLMClient  # noqa: E402

__all__ = [
    "AddAnswer",
    "AsyncKaLMClient",
    "Health",
    "KaLMClient",
    "RankedDocument",
    "RerankAnswer",
    "RerankedDocument",
    "ScoreAnswer",
    "SearchAnswer",
    "SearchHit",
    "StoredPassage",
]
