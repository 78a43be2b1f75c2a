"""A run of the reranker over the candidates of a first stage, scored from stored states."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from kalm_reranker.search.ranking import Run

if TYPE_CHECKING:  # importing these costs torch
    from kalm_reranker.encoding.states import PassageStates
    from kalm_reranker.reranker import KaLMReranker


def candidate_ids(candidates: Run) -> list[str]:
    """Returns every passage that is a candidate of some query, once, in order of appearance.

    These are all the passages that need states.
    """
    return list(dict.fromkeys(passage_id for found in candidates.values() for passage_id in found))


def rerank_from_states(
    reranker: "KaLMReranker",
    queries: Mapping[str, str],
    candidates: Run,
    passage_ids: list[str],
    states: "PassageStates",
    *,
    on_query: Callable[[int], None] | None = None,
) -> Run:
    """Returns the margins of all candidates.

    Args:
        reranker: The model that made the states.
        queries: Query id -> text, at least those of `candidates`.
        candidates: First-stage run; only its passage ids are used.
        passage_ids: Whose states they are: passage `passage_ids[i]` has `states[i]`.
        states: Encoded passages, at least all candidates.
        on_query: Called after each query with the number of its candidates.

    Returns:
        Query id -> passage id -> margin, the same passages as in `candidates`.
    """
    row_of = {passage_id: row for row, passage_id in enumerate(passage_ids)}
    run: Run = {}
    for query_id, found in candidates.items():
        ids = list(found)
        pairs = []
        if ids:
            rows = [row_of[passage_id] for passage_id in ids]
            pairs = reranker.score(
                queries[query_id], states[rows], return_margin=True, show_progress=False
            )
        run[query_id] = {
            passage_id: pair.margin for passage_id, pair in zip(ids, pairs, strict=True)
        }
        if on_query is not None:
            on_query(len(ids))
    return run
