"""Exact search by cosine over a collection, for measurements: nothing is approximated or kept."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kalm_reranker.errors import InputError
from kalm_reranker.options import check_count
from kalm_reranker.progress import progress_bar
from kalm_reranker.search.dense_model import DenseModel, FloatArray
from kalm_reranker.search.ranking import Run

IntArray: TypeAlias = npt.NDArray[np.int64]

# Passages whose vectors are held at a time: long enough for batches of similar length, and 30 MB
# of vectors of width 1024 with the scores of 1,000 queries.
_BLOCK = 4_096


def dense_search(
    model: DenseModel,
    passages: Mapping[str, str],
    queries: Mapping[str, str],
    *,
    top_k: int,
    pools: Mapping[str, Sequence[str]] | None = None,
    show_progress: bool | None = None,
) -> Run:
    """Returns the passages closest to each query.

    Every passage is compared with every query, a block at a time, so memory does not grow with
    the collection.

    Args:
        model: Makes the vectors, with its own prompts.
        passages: Passage id -> text.
        queries: Query id -> text.
        top_k: Passages for a query; all where there are fewer.
        pools: Query id -> the passages it is compared with, for all queries; None for all passages.
        show_progress: See `progress_bar`.

    Returns:
        For each query its passages, best first, with their cosines. Ties at the cut keep the
        smaller ids.

    Raises:
        InputError: There are no passages or no queries.
        InvalidOptionError: `top_k` is not a positive integer.
        CheckpointError: The model cannot be found, fetched, or loaded.
        NonFiniteScoreError: It made NaN or infinite values.
    """
    check_count(top_k, "top_k")
    if not passages or not queries:
        raise InputError(
            f"Dense search needs passages and queries; got {len(passages)} and {len(queries)}."
        )
    ids = sorted(passages)
    best = Best(len(queries), top_k)
    places = None if pools is None else _places(ids, [pools[query_id] for query_id in queries])
    with progress_bar(len(queries), label="encode", unit="queries", show=show_progress) as done:
        vectors = np.empty((len(queries), model.width), np.float32)  # [Q, W]
        for row, text in enumerate(queries.values()):
            vectors[row] = model.encode_query(text)
            done(1)
    with progress_bar(len(ids), label="encode", unit="passages", show=show_progress) as done:
        for start in range(0, len(ids), _BLOCK):
            block = ids[start : start + _BLOCK]
            encoded = model.encode_passages([passages[passage_id] for passage_id in block])
            best.add(vectors @ encoded.T, start, places)  # [Q, W] x [W, P] -> [Q, P]
            done(len(block))
    return {
        query_id: {ids[found]: float(score) for score, found in best.row(row)}
        for row, query_id in enumerate(queries)
    }


def _places(ids: Sequence[str], pools: Sequence[Sequence[str]]) -> list[IntArray]:
    """Returns the rows of each pool's passages, ascending, without those that are not there."""
    row_of = {passage_id: row for row, passage_id in enumerate(ids)}
    return [
        np.array(sorted({row_of[key] for key in pool if key in row_of}), np.int64) for pool in pools
    ]


class Best:
    """The best rows seen so far, for several queries.

    Args:
        num_queries: Queries.
        top_k: Rows kept for each.
    """

    def __init__(self, num_queries: int, top_k: int) -> None:
        self._top_k = top_k
        self._scores = [np.empty(0, np.float32) for _ in range(num_queries)]
        self._rows = [np.empty(0, np.int64) for _ in range(num_queries)]

    def add(
        self, scores: FloatArray, first_row: int, places: Sequence[IntArray] | None = None
    ) -> None:
        """Takes the scores of further rows, in ascending order of rows.

        Args:
            scores: One row of scores for each query, float32 [Q, P].
            first_row: Number of the first of these P rows.
            places: For each query the rows that count, ascending; None for all.
        """
        num_rows = scores.shape[1]
        for query, found in enumerate(scores):
            kept = self._scores[query]
            if places is None:
                new = np.arange(num_rows)
            else:
                bounds = np.searchsorted(places[query], (first_row, first_row + num_rows))
                new = places[query][bounds[0] : bounds[1]] - first_row
            if len(kept) == self._top_k:
                # Later rows have larger ids: one that equals the last kept score loses to it.
                new = new[found[new] > kept[-1]]
            if not len(new):
                continue
            together = np.concatenate([kept, found[new]])
            rows = np.concatenate([self._rows[query], new + first_row])
            order = np.argsort(-together, kind="stable")[: self._top_k]  # ties: smaller row first
            self._scores[query], self._rows[query] = together[order], rows[order]

    def row(self, query: int) -> list[tuple[float, int]]:
        """Returns the score and the number of a query's best rows, best first."""
        pairs = zip(self._scores[query], self._rows[query], strict=True)
        return [(float(score), int(row)) for score, row in pairs]
