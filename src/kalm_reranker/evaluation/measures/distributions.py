"""Histograms of the scores of relevant candidates and of the others."""

import numpy as np

from kalm_reranker.errors import InputError, InvalidOptionError
from kalm_reranker.evaluation.data.collection import Qrels
from kalm_reranker.evaluation.measures.roc_auc import pooled_scores, scores_by_relevance
from kalm_reranker.evaluation.results import ScoreDistribution
from kalm_reranker.options import check_count
from kalm_reranker.search.ranking import Run


def score_distribution(
    run: Run, qrels: Qrels, bins: int = 50, *, bounds: tuple[float, float] | None = None
) -> ScoreDistribution:
    """Returns how scores of relevant candidates and of the others are spread, over all queries.

    Relevant is what is judged 1 or more, other is every other candidate, judged or not; queries
    without judgements are ignored.

    Args:
        run: Query id -> passage id -> score.
        qrels: Query id -> passage id -> relevance.
        bins: How many bins of equal width.
        bounds: Lowest and highest edge, where several distributions are to share their bins;
            scores beyond are counted in the first and the last bin. The lowest and the highest
            score by default.

    Raises:
        InvalidOptionError: `bins` is no positive integer, or `bounds` are not finite and ascending.
        InputError: There is no candidate, or a score is not finite.
    """
    check_count(bins, "bins")
    relevant, other = pooled_scores(scores_by_relevance(run, qrels))
    everything = np.concatenate([relevant, other])
    if not len(everything):
        raise InputError(
            "a distribution needs candidates; the run has none for these judged queries.",
            hint="Check that run and judgements name the same queries.",
        )
    if not np.isfinite(everything).all():
        raise InputError(
            "scores must be finite to be put in bins; at least one is not.",
            hint="Look for the step that produced it; reranker margins are always finite.",
        )
    if bounds is None:
        bounds = float(everything.min()), float(everything.max())
        if bounds[0] == bounds[1]:  # one value: bins around it
            margin = max(0.5, abs(bounds[0]) * 1e-6)
            bounds = bounds[0] - margin, bounds[1] + margin
    elif not (np.isfinite(bounds).all() and bounds[0] < bounds[1]):
        raise InvalidOptionError(f"bounds must be finite and ascending; got {bounds!r}.")
    edges = np.linspace(*bounds, bins + 1)
    counted = [
        np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0] for scores in (relevant, other)
    ]
    return ScoreDistribution(
        edges=tuple(edges.tolist()),
        relevant=tuple(counted[0].tolist()),
        other=tuple(counted[1].tolist()),
    )
