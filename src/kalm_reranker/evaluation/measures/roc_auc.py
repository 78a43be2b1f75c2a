"""ROC-AUC of scores: would one threshold separate relevant candidates from the others?

Ranking measures look at the order within a query, and are the same whatever is added to all its
scores. Here candidates of all queries stand in one list, as they do for a caller who keeps what
scores above a threshold.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kalm_reranker.errors import InputError
from kalm_reranker.evaluation.data.collection import Qrels
from kalm_reranker.search.ranking import Run


@dataclass(frozen=True, kw_only=True)
class RocAuc:
    """How well scores separate relevant candidates from others.

    1 is perfect, 0.5 is what scores without any meaning reach.

    Attributes:
        pooled: Over the candidates of all queries in one list; None where they are all of one
            kind.
        mean: Of `per_query`, all with the same weight; None where that is empty. It does not see
            whether scores of different queries are comparable.
        per_query: Query id -> value, only queries with candidates of both kinds.
        num_relevant: Relevant candidates.
        num_other: The others, judged or not.
        reason: Why `pooled` is None; None where it is not.
    """

    pooled: float | None
    mean: float | None
    per_query: dict[str, float]
    num_relevant: int
    num_other: int
    reason: str | None


def roc_auc(run: Run, qrels: Qrels) -> RocAuc:
    """Returns the area under the ROC curve of a run's scores.

    That is the share of pairs of a relevant candidate and another one in which the relevant one
    has the higher score; equal scores count half. Scores are used as they are, without ranks.
    Relevant is what is judged 1 or more, other is every other candidate, judged or not; relevant
    passages that are no candidates are not looked at. Queries without judgements are ignored.

    Args:
        run: Query id -> passage id -> score.
        qrels: Query id -> passage id -> relevance.

    Raises:
        InputError: A score is NaN.
    """
    scores = scores_by_relevance(run, qrels)
    relevant, other = pooled_scores(scores)
    per_query = {
        query_id: _area(mine, others)
        for query_id, (mine, others) in scores.items()
        if len(mine) and len(others)
    }
    reason = None
    if not len(relevant) or not len(other):
        reason = "no candidate is relevant" if not len(relevant) else "every candidate is relevant"
        if not len(relevant) and not len(other):
            reason = "there are no candidates"
    return RocAuc(
        pooled=_area(relevant, other) if reason is None else None,
        mean=sum(per_query.values()) / len(per_query) if per_query else None,
        per_query=per_query,
        num_relevant=len(relevant),
        num_other=len(other),
        reason=reason,
    )


Scores = NDArray[np.float64]


def scores_by_relevance(run: Run, qrels: Qrels) -> dict[str, tuple[Scores, Scores]]:
    """Returns query id -> (scores of relevant candidates, scores of the others), both float64.

    For every judged query, in the order of the judgements.

    Raises:
        InputError: A score is NaN.
    """
    split = {}
    for query_id, judged in qrels.items():
        found = run.get(query_id, {})
        scores = np.fromiter(found.values(), dtype=np.float64, count=len(found))
        if np.isnan(scores).any():
            passage_id = list(found)[int(np.argmax(np.isnan(scores)))]
            raise InputError(
                f"score of passage {passage_id!r} for query {query_id!r} is NaN; a threshold needs "
                "comparable numbers.",
                hint="Look for the step that produced it; reranker margins are always finite.",
            )
        relevant = np.fromiter(
            (judged.get(passage_id, 0) >= 1 for passage_id in found), dtype=bool, count=len(found)
        )
        split[query_id] = (scores[relevant], scores[~relevant])
    return split


def pooled_scores(split: dict[str, tuple[Scores, Scores]]) -> tuple[Scores, Scores]:
    """Returns the scores of relevant candidates of all queries, and those of the others."""
    empty = np.empty(0)
    return (
        np.concatenate([empty, *(relevant for relevant, _ in split.values())]),
        np.concatenate([empty, *(other for _, other in split.values())]),
    )


def _area(relevant: Scores, other: Scores) -> float:
    """Returns the share of pairs in order, counted in whole numbers: no rounding until the end."""
    ascending = np.sort(other)
    below = np.searchsorted(ascending, relevant, side="left")
    not_above = np.searchsorted(ascending, relevant, side="right")
    return int(below.sum() + not_above.sum()) / (2 * len(relevant) * len(other))
