"""KaLM-Reranker-V1, fast: passages are encoded once and kept, queries are scored against that.

Importing this package is cheap; PyTorch is imported when a name that needs it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kalm_reranker.checkpoints.settings import CascadeSettings
    from kalm_reranker.client import AsyncKaLMClient, KaLMClient
    from kalm_reranker.encoding.states import PassageStates
    from kalm_reranker.errors import KalmRerankerError
    from kalm_reranker.index.passage_index import PassageIndex
    from kalm_reranker.reranker import KaLMReranker, RankedDocument
    from kalm_reranker.scoring import ScoredPair
    from kalm_reranker.search.results import SearchResult, SearchResults
    from kalm_reranker.store.passage import Passage

__version__ = "0.1.0"

_HOME = {
    "AsyncKaLMClient": "kalm_reranker.client",
    "KaLMClient": "kalm_reranker.client",
    "CascadeSettings": "kalm_reranker.checkpoints.settings",
    "Passage": "kalm_reranker.store.passage",
    "PassageIndex": "kalm_reranker.index.passage_index",
    "SearchResult": "kalm_reranker.search.results",
    "SearchResults": "kalm_reranker.search.results",
    "KaLMReranker": "kalm_reranker.reranker",
    "RankedDocument": "kalm_reranker.reranker",
    "PassageStates": "kalm_reranker.encoding.states",
    "ScoredPair": "kalm_reranker.scoring",
    "KalmRerankerError": "kalm_reranker.errors",
}

__all__ = [
    "AsyncKaLMClient",
    "CascadeSettings",
    "KaLMClient",
    "KaLMReranker",
    "KalmRerankerError",
    "Passage",
    "PassageIndex",
    "PassageStates",
    "RankedDocument",
    "ScoredPair",
    "SearchResult",
    "SearchResults",
    "__version__",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - module attributes have no common type
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
