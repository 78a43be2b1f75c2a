"""Which plots a report has."""

from collections.abc import Sequence

from kalm_reranker.evaluation.report.axes import Looks
from kalm_reranker.evaluation.report.figure import Plot
from kalm_reranker.evaluation.report.findings import against
from kalm_reranker.evaluation.report.plot_cascade import cascades
from kalm_reranker.evaluation.report.plot_differences import differences
from kalm_reranker.evaluation.report.plot_distributions import distributions
from kalm_reranker.evaluation.report.plot_means import means
from kalm_reranker.evaluation.report.plot_online import online_cost
from kalm_reranker.evaluation.report.plot_quality import by_bytes, by_ratio, by_time
from kalm_reranker.evaluation.report.summary import (
    Summary,
    baseline_of,
    best,
    families,
    main_measure,
)
from kalm_reranker.evaluation.report.wording import ROC_AUC, shorten
from kalm_reranker.evaluation.results import Comparison, Evaluation

# In the order of the report. Files of these names in the folder of plots are ours.
PLOT_NAMES = (
    "means",
    "quality-by-ratio",
    "quality-by-bytes",
    "quality-by-time",
    "cascades",
    "roc-auc-by-ratio",
    "distributions",
    "online-cost",
    "differences",
)


def plots_of(evaluation: Evaluation, summaries: list[Summary]) -> list[Plot]:
    """Returns the plots there are data for, in the order of `PLOT_NAMES`."""
    looks, measure = Looks(families(summaries)), main_measure(evaluation)
    over = _over(evaluation)
    found = [
        means(evaluation, summaries, looks, measure),
        by_ratio(
            summaries, looks, measure, lambda one: one.quality, name="quality-by-ratio", over=over
        ),
        by_bytes(summaries, looks, measure, over),
        by_time(summaries, looks, measure, over),
        cascades(summaries, looks, measure, over),
        by_ratio(
            summaries, looks, ROC_AUC, lambda one: one.roc_auc, name="roc-auc-by-ratio", over=over
        ),
        distributions(evaluation, summaries, looks),
        online_cost(evaluation.costs),
        differences(most_telling(evaluation, summaries)),
    ]
    return [one for one in found if one is not None]


def most_telling(evaluation: Evaluation, summaries: Sequence[Summary]) -> list[Comparison]:
    """Returns the comparisons of the best ranker that has any with the baseline."""
    baseline = baseline_of(evaluation)
    if baseline is None:
        return []
    measures = list(dict.fromkeys(one.measure for one in evaluation.comparisons))
    main = main_measure(evaluation)
    measure = main if main in measures else measures[0]
    ranked = sorted(summaries, key=lambda one: -(one.quality or 0.0))
    top = best(summaries)
    for one in [*([top] if top else []), *ranked]:
        found = against(evaluation.comparisons, one.info.name, baseline, measure)
        if found:
            return found
    return []


def _over(evaluation: Evaluation) -> str:
    count = len(evaluation.datasets)
    return shorten(evaluation.datasets[0].name) if count == 1 else f"mean of {count} sets"
