"""Ranking measures of a run against judgements, computed by ir-measures."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kalm_reranker.errors import InputError, InvalidOptionError
from kalm_reranker.evaluation.data.collection import Qrels
from kalm_reranker.extras import import_extra
from kalm_reranker.search.ranking import Run, ranked_ids

NDCG_AT_10 = "nDCG@10"
RR_AT_10 = "RR@10"
AP = "AP"
RECALL_AT_100 = "R@100"
ROC_AUC = "ROC-AUC"
# Those whose provider inside ir-measures runs in this process and whose ties are ours (some
# variants call other programs or break ties again).
RANKING_MEASURES = (NDCG_AT_10, RR_AT_10, AP, RECALL_AT_100)
# All that an evaluation reports. ROC-AUC is of scores, not of ranks, over all queries at once:
# `roc_auc.py` computes it.
MEASURES = (*RANKING_MEASURES, ROC_AUC)

# ir-measures names a measure of one query; tables show the mean over queries.
_DISPLAY_NAMES = {RR_AT_10: "MRR@10", AP: "MAP"}
# trec_eval counts judgements in an array with a place for each relevance up to the highest.
_HIGHEST_RELEVANCE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """One measure of one run.

    Attributes:
        measure: Its name as ir-measures writes it, for example `nDCG@10`.
        mean: Over all judged queries.
        per_query: Query id -> value, for every judged query, in the order of the judgements.
    """

    measure: str
    mean: float
    per_query: dict[str, float]


def display_name(measure: str) -> str:
    """Returns what tables call the mean of a measure: MRR@10 for RR@10, MAP for AP.

    Example:
        >>> display_name("AP"), display_name("nDCG@10")
        ('MAP', 'nDCG@10')
    """
    return _DISPLAY_NAMES.get(measure, measure)


def measure_run(run: Run, qrels: Qrels, measure: str = NDCG_AT_10) -> MeasuredRun:
    """Returns one measure of a run, by query and on average; see `measure_all`.

    Args:
        run: Query id -> passage id -> score, higher is better.
        qrels: Query id -> passage id -> relevance; must not be empty.
        measure: One of `RANKING_MEASURES`.

    Raises:
        InvalidOptionError: `measure` is not one of those, or there are no judgements.
        InputError: A score is NaN, or a relevance is above a million.
        MissingExtraError: ir-measures is not installed.
    """
    if measure not in RANKING_MEASURES:
        raise InvalidOptionError(
            f"measure must be one of {', '.join(RANKING_MEASURES)}; got {measure!r}.",
            hint="ROC-AUC is computed by `roc_auc`."
            if measure == ROC_AUC
            else "For others call ir-measures with the run and the judgements.",
        )
    return _measured(run, qrels, (measure,))[measure]


def measure_all(run: Run, qrels: Qrels) -> dict[str, MeasuredRun]:
    """Returns all `RANKING_MEASURES` of a run, by query and on average.

    Queries of `qrels` without a result in the run count as 0; results for queries without
    judgements are ignored. Passages without a judgement count as not relevant. A relevance of at
    least 1 is relevant where a measure knows only relevant and not; nDCG has linear gains (the
    relevance itself), as in BEIR, and negative ones gain nothing. AP is over the candidates of
    the run, however many they are.

    Ties: candidates with equal scores are ordered by id (`ranked_ids`). Without that, nDCG would
    depend on the evaluator's own rule, which for trec_eval is the reverse order of ids, on
    scores rounded to float32.

    Args:
        run: Query id -> passage id -> score, higher is better.
        qrels: Query id -> passage id -> relevance; must not be empty. A query of which nothing is
            relevant counts as 0, so such queries are better left out before.

    Returns:
        Measure -> values, in the order of `RANKING_MEASURES`.

    Raises:
        InvalidOptionError: There are no judgements.
        InputError: A score is NaN, or a relevance is above a million.
        MissingExtraError: ir-measures is not installed.
    """
    return _measured(run, qrels, RANKING_MEASURES)


def _measured(run: Run, qrels: Qrels, measures: Iterable[str]) -> dict[str, MeasuredRun]:
    ir_measures = import_extra("ir_measures", extra="eval", purpose="measuring a ranking")
    if not qrels:
        raise InvalidOptionError(
            "measuring needs at least one judged query; got none.",
            hint="Check that the judgements belong to these queries.",
        )
    parsed = {ir_measures.parse_measure(measure): measure for measure in measures}
    gains = {query_id: _gains(judged, query_id) for query_id, judged in qrels.items()}
    ordered = {query_id: _ranks_as_scores(run.get(query_id, {})) for query_id in qrels}
    per_query = {measure: dict.fromkeys(qrels, 0.0) for measure in parsed.values()}
    for found in ir_measures.iter_calc(list(parsed), gains, ordered):
        per_query[parsed[found.measure]][found.query_id] = float(found.value)
    return {
        measure: MeasuredRun(
            measure=measure, mean=sum(values.values()) / len(values), per_query=values
        )
        for measure, values in per_query.items()
    }


def _gains(judged: Mapping[str, int], query_id: str) -> dict[str, int]:
    """Returns one query's judgements with 0 for negative ones, which trec_eval may not hold."""
    highest = max(judged.values(), default=0)
    if highest > _HIGHEST_RELEVANCE:
        raise InputError(
            f"a relevance must be at most {_HIGHEST_RELEVANCE:,}; query {query_id!r} has "
            f"{highest}.",
            hint="Memory for the evaluator grows with the highest relevance.",
        )
    return {passage_id: max(relevance, 0) for passage_id, relevance in judged.items()}


def _ranks_as_scores(scores: Mapping[str, float]) -> dict[str, float]:
    """Returns the same order as whole numbers, n for the best down to 1.

    The evaluator keeps scores as float32, which is exact for these and leaves it no tie.
    """
    order = ranked_ids(scores)
    return {passage_id: float(len(order) - rank) for rank, passage_id in enumerate(order)}
