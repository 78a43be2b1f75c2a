"""Our own ways: with passages encoded for every query, and with stored states."""

from kalm_reranker.bench.report import ENCODED, STORED, Way
from kalm_reranker.bench.settings import OURS
from kalm_reranker.bench.workload import Workload
from kalm_reranker.engine.placement import dtype_name
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
    """Scores states that are there, in main memory."""

    def __init__(self, reranker: KaLMReranker) -> None:
        self.way = Way(path=OURS, passages=STORED, dtype=dtype_name(reranker.dtype))
        self._reranker = reranker

    def score(self, work: Workload, count: int) -> list[float]:
        """Scores the first `count` candidates."""
        states = work.states if count == len(work.states) else work.states[:count]
        found = self._reranker.score(
            work.query, states, work.instruction, return_margin=True, show_progress=False
        )
        return [pair.margin for pair in found]
