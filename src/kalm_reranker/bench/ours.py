"""Our own ways: with passages encoded for every query, and with stored states."""

from kalm_reranker.bench.report import CACHED, ENCODED, STORED, Way
from kalm_reranker.bench.settings import OURS
from kalm_reranker.bench.workload import Workload
from kalm_reranker.engine.placement import dtype_name
from kalm_reranker.engine.prefix_cache import PrefixCacheStats
from kalm_reranker.reranker import KaLMReranker


class OurEncodingScorer:
    """Encodes the candidates and scores them: what `rank` does for documents it never saw."""

    def __init__(self, reranker: KaLMReranker) -> None:
        self.way = Way(path=OURS, passages=ENCODED, dtype=dtype_name(reranker.dtype))
        self._reranker = reranker

    def score(self, work: Workload, count: int) -> list[float]:
        """Scores the first `count` candidates."""
        found = self._reranker.predict(
            [(work.query, document) for document in work.documents[:count]],
            work.instruction,
            return_margin=True,
            compression_ratio=work.ratio,
            show_progress=False,
        )
        return [pair.margin for pair in found]


class OurStoredScorer:
    """Scores states that are there, in main memory.

    Args:
        reranker: Our model.
        cached: Whether it may keep what it computes of prompt prefix and passage from one call to
            the next. Otherwise every call computes it anew, as the first one does.
    """

    def __init__(self, reranker: KaLMReranker, *, cached: bool) -> None:
        self.way = Way(
            path=OURS, passages=CACHED if cached else STORED, dtype=dtype_name(reranker.dtype)
        )
        self._cached = cached
        self._reranker = reranker

    @property
    def prefix_cache_stats(self) -> PrefixCacheStats | None:
        """What the reranker keeps; None where it keeps nothing."""
        return self._reranker.prefix_cache_stats

    def score(self, work: Workload, count: int) -> list[float]:
        """Scores the first `count` candidates."""
        states = work.kept_states if self._cached else work.states
        found = self._reranker.score(
            work.query,
            states if count == len(states) else states[:count],
            work.instruction,
            return_margin=True,
            show_progress=False,
        )
        return [pair.margin for pair in found]
