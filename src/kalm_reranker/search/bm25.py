"""BM25, the first stage: which passages are worth the reranker's time."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kalm_reranker.errors import InputError, InvalidOptionError
from kalm_reranker.extras import import_extra
from kalm_reranker.options import check_count
from kalm_reranker.search.analysis import Language, analyzer_for
from kalm_reranker.search.ranking import Run


class BM25FirstStage:
    """A BM25 index in memory over a collection that fits there.

    Args:
        passages: Passage id -> text.
        language: See `analyzer_for`; "auto" looks at the passages.
        k1: Term frequency saturation, at least 0. 0.9 with `b` = 0.4 is the common setting of
            retrieval benchmarks (Anserini, Pyserini) and better on passages than the text-book's
            1.2 and 0.75.
        b: Length normalisation from 0 (none) to 1 (full).

    Raises:
        InputError: There are no passages.
        InvalidOptionError: `k1`, `b` or `language` is out of range.
        MissingExtraError: bm25s, or for English PyStemmer, is not installed.

    Example:
        >>> index = BM25FirstStage({"a": "Gravity attracts bodies.", "b": "Beijing is a city."})
        >>> list(index.search({"q": "what attracts a body"}, top_k=1)["q"])
        ['a']
    """

    def __init__(
        self,
        passages: Mapping[str, str],
        *,
        language: Language = "auto",
        k1: float = 0.9,
        b: float = 0.4,
    ) -> None:
        if not passages:
            raise InputError("BM25 needs at least one passage; got none.")
        if not k1 >= 0:
            raise InvalidOptionError(f"k1 must be at least 0; got {k1!r}.")
        if not 0 <= b <= 1:
            raise InvalidOptionError(f"b must be between 0 and 1; got {b!r}.")
        bm25s = import_extra("bm25s", extra="eval", purpose="BM25 retrieval")
        # Rows in id order: a stable sort by score then breaks ties by id, as `ranked_ids` does.
        self._ids = sorted(passages)
        texts = [passages[passage_id] for passage_id in self._ids]
        self._analyzer = analyzer_for(texts, language)
        terms = [self._analyzer.terms(text) for text in texts]
        # bm25s cannot index a collection without a single term; then nothing matches anything.
        self._index: Any = None
        if any(terms):
            self._index = bm25s.BM25(k1=k1, b=b)
            self._index.index(terms, show_progress=False)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def english(self) -> bool:
        """Whether English stop words and endings are removed."""
        return self._analyzer.english

    def search(self, queries: Mapping[str, str], top_k: int = 100) -> Run:
        """Returns the best passages of each query.

        Args:
            queries: Query id -> text.
            top_k: Most passages returned for a query. Only passages that share a term with the
                query are returned, so there can be fewer, down to none.

        Returns:
            For each query its passages in rank order with their BM25 scores, which are positive
            and only comparable within the query. Ties at the cut keep the smaller ids.

        Raises:
            InvalidOptionError: `top_k` is not a positive integer.
        """
        check_count(top_k, "top_k")
        return {query_id: self._search_one(text, top_k) for query_id, text in queries.items()}

    def _search_one(self, query: str, top_k: int) -> dict[str, float]:
        terms = self._analyzer.terms(query)
        if self._index is None or not terms:
            return {}
        scores = np.asarray(self._index.get_scores(terms))  # [P] float32
        order = np.argsort(-scores, kind="stable")[:top_k]
        return {self._ids[row]: float(scores[row]) for row in order if scores[row] > 0}
