"""The blend of a first stage and a reranker: the sum of their z-scores over one query's candidates.

BM25 scores and margins have different units and a different spread for every query, so they
cannot be added as they are. Within one query's candidates the z-score makes them comparable
without a parameter to tune. Pure functions.
"""

from collections.abc import Mapping

import numpy as np

from kalm_reranker.errors import InputError
from kalm_reranker.search.ranking import Run

# Scores that differ by less than this share of the largest are equal up to float32 rounding
# (about 1.2e-7 for each operation). Stretching that noise to unit variance would let it outvote
# the other ranker.
_RELATIVE_NOISE = 1e-6


def z_scores(scores: Mapping[str, float]) -> dict[str, float]:
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


def blend(first_stage: Mapping[str, float], reranker: Mapping[str, float]) -> dict[str, float]:
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


def _different(
    ids: set[str], first_stage: Mapping[str, object], reranker: Mapping[str, object], kind: str
) -> InputError:
    example = min(ids)
    where = "the first stage" if example in first_stage else "the reranker"
    return InputError(
        f"both rankers must score the same {kind} ids; {len(ids)} are scored by one only, "
        f"for example {example!r} by {where} ({len(first_stage)} against {len(reranker)}).",
        hint="Rerank exactly the candidates that the first stage returned.",
    )
