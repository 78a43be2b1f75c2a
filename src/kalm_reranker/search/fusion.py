"""Two rankings made one, with nothing to tune. Pure functions.

Scores of different rankers have different units and a different spread for every query, so they
cannot be added as they are. For a first stage and a reranker, which score the same candidates,
the z-score within one query makes them comparable (`blend`). First stages that find different
candidates have only ranks in common (`reciprocal_rank_fusion`).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kalm_reranker.errors import InputError
from kalm_reranker.options import check_count
from kalm_reranker.search.ranking import K, Run, ranked_ids

# Scores that differ by less than this share of the largest are equal up to float32 rounding
# (about 1.2e-7 for each operation). Stretching that noise to unit variance would let it outvote
# the other ranker.
_RELATIVE_NOISE = 1e-6


def z_scores(scores: Mapping[K, float]) -> dict[K, float]:
    """Returns (score - mean) / standard deviation over one query's candidates.

    A single candidate, or candidates with the same score up to float32 rounding, get 0: such a
    ranker has no opinion. No candidates give no scores.

    Args:
        scores: Passage id -> score, any finite numbers.

    Raises:
        InputError: A score is NaN or infinite.
    """
    if not scores:
        return {}
    values = np.array(list(scores.values()), dtype=np.float64)  # [P]
    if not np.isfinite(values).all():
        worst = next(key for key, value in scores.items() if not np.isfinite(value))
        raise InputError(
            f"score of passage {worst!r} must be a finite number; got {scores[worst]!r}.",
            hint="Look for the step that produced it; reranker margins are always finite.",
        )
    # Relative to the largest score the squares below neither overflow nor vanish.
    largest = np.abs(values).max()
    values = values / largest if largest > 0 else values
    if np.ptp(values) <= _RELATIVE_NOISE:
        return dict.fromkeys(scores, 0.0)
    standardised = (values - values.mean()) / values.std()
    return dict(zip(scores, standardised.tolist(), strict=True))


def blend(first_stage: Mapping[K, float], reranker: Mapping[K, float]) -> dict[K, float]:
    """Returns the sum of both rankers' z-scores for one query.

    Args:
        first_stage: Passage id -> first-stage score.
        reranker: Passage id -> reranker margin (not P(yes), whose ends are flat: two clearly
            relevant passages would look the same). The same passages as in `first_stage`.

    Returns:
        Passage id -> blended score, in the order of `first_stage`; the mean is 0.

    Raises:
        InputError: The candidates differ, or a score is not finite.
    """
    if first_stage.keys() != reranker.keys():
        raise _different(first_stage.keys() ^ reranker.keys(), first_stage, reranker, "passage")
    first, second = z_scores(first_stage), z_scores(reranker)
    return {passage_id: first[passage_id] + second[passage_id] for passage_id in first}


def blend_runs(first_stage: Run, reranker: Run) -> Run:
    """Returns `blend` for every query.

    Raises:
        InputError: The queries or the candidates of a query differ, or a score is not finite;
            the message names the query.
    """
    if first_stage.keys() != reranker.keys():
        raise _different(first_stage.keys() ^ reranker.keys(), first_stage, reranker, "query")
    blended: Run = {}
    for query_id, scores in first_stage.items():
        try:
            blended[query_id] = blend(scores, reranker[query_id])
        except InputError as error:
            raise InputError(f"query {query_id!r}: {error.message}", hint=error.hint) from error
    return blended


def reciprocal_rank_fusion(rankings: Sequence[Sequence[K]], *, k: int = 60) -> dict[K, float]:
    """Returns the candidates of several rankings with the sum of 1 / (k + rank) over them.

    Args:
        rankings: Passage ids, best first; ranks count from 1. An id that comes twice in a ranking
            counts where it comes first.
        k: How little the first ranks stand out. 60 was fixed by the paper's pilot study.

    Returns:
        Passage id -> score, best first, equal scores by id.

    Raises:
        InvalidOptionError: `k` is not a positive integer.

    Example:
        >>> list(reciprocal_rank_fusion([["a", "b", "c"], ["c", "a"]]))
        ['a', 'c', 'b']

    Source:
        Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and
        individual rank learning methods", SIGIR 2009.
    """
    check_count(k, "k")
    fused: dict[K, float] = {}
    for ranking in rankings:
        for rank, passage_id in enumerate(dict.fromkeys(ranking), start=1):
            fused[passage_id] = fused.get(passage_id, 0.0) + 1 / (k + rank)
    return {passage_id: fused[passage_id] for passage_id in ranked_ids(fused)}


def _different(
    ids: set[K], first_stage: Mapping[K, object], reranker: Mapping[K, object], kind: str
) -> InputError:
    example = min(ids)
    where = "the first stage" if example in first_stage else "the reranker"
    return InputError(
        f"both rankers must score the same {kind} ids; {len(ids)} are scored by one only, "
        f"for example {example!r} by {where} ({len(first_stage)} against {len(reranker)}).",
        hint="Rerank exactly the candidates that the first stage returned.",
    )
