"""KaLM-Reranker-V1, fast: passages are encoded once, queries are scored against their states.

Importing this package is cheap; PyTorch is imported when a name that needs it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kalm_reranker.encoding.states import PassageStates
    from kalm_reranker.errors import KalmRerankerError
    from kalm_reranker.reranker import KaLMReranker, RankedDocument
    from kalm_reranker.scoring import ScoredPair

__version__ = "0.1.0"

_HOME = {
    "KaLMReranker": "kalm_reranker.reranker",
    "RankedDocument": "kalm_reranker.reranker",
    "PassageStates": "kalm_reranker.encoding.states",
    "ScoredPair": "kalm_reranker.scoring",
    "KalmRerankerError": "kalm_reranker.errors",
}

__all__ = [
    "KaLMReranker",
    "KalmRerankerError",
    "PassageStates",
    "RankedDocument",
    "ScoredPair",
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
