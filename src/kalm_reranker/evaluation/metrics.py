"""Ranking measures of a run against judgements, computed by ir-measures."""

from collections.abc import Mapping
from dataclasses import dataclass

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.evaluation.collection import Qrels
from kalm_reranker.extras import import_extra
from kalm_reranker.search.ranking import Run, ranked_ids

NDCG_AT_10 = "nDCG@10"
RECALL_AT_100 = "R@100"
# Those whose provider inside ir-measures runs in this process and whose ties are ours (some
# variants call other programs or break ties again).
MEASURES = (NDCG_AT_10, RECALL_AT_100)


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """One measure of one run.

    Attributes:
        measure: Its name as ir-measures writes it, for example `nDCG@10`.
        mean: Over all judged queries.
        per_query: Query id -> value, for every judged query.
    """

    measure: str
    mean: float
    per_query: dict[str, float]


def measure_run(run: Run, qrels: Qrels, measure: str = NDCG_AT_10) -> MeasuredRun:
    """Returns one measure of a run, by query and on average.

    Queries of `qrels` without a result in the run count as 0; results for queries without
    judgements are ignored. nDCG has linear gains (the relevance itself), as in BEIR.

    Ties: candidates with equal scores are ordered by id (`ranked_ids`). Without that, nDCG would
    depend on the evaluator's own rule, which for trec_eval is the reverse order of ids, on
    scores rounded to float32.

    Args:
        run: Query id -> passage id -> score, higher is better.
        qrels: Query id -> passage id -> relevance; must not be empty.
        measure: One of `MEASURES`.

    Raises:
        InvalidOptionError: `measure` is not one of those, or there are no judgements.
        InputError: A score is NaN.
        MissingExtraError: ir-measures is not installed.
    """
    if measure not in MEASURES:
        raise InvalidOptionError(
            f"measure must be one of {', '.join(MEASURES)}; got {measure!r}.",
            hint="For others call ir-measures with the run and the judgements.",
        )
    ir_measures = import_extra("ir_measures", extra="eval", purpose="measuring a ranking")
    if not qrels:
        raise InvalidOptionError(
            f"{measure} needs at least one judged query; got none.",
            hint="Check that the judgements belong to these queries.",
        )
    parsed = ir_measures.parse_measure(measure)
    ordered = {query_id: _ranks_as_scores(run.get(query_id, {})) for query_id in qrels}
    per_query = dict.fromkeys(qrels, 0.0)
    for value in ir_measures.iter_calc([parsed], qrels, ordered):
        per_query[value.query_id] = float(value.value)
    mean = sum(per_query.values()) / len(per_query)
    return MeasuredRun(measure=measure, mean=mean, per_query=per_query)


def _ranks_as_scores(scores: Mapping[str, float]) -> dict[str, float]:
    """Returns the same order as whole numbers, n for the best down to 1.

    The evaluator keeps scores as float32, which is exact for these and leaves it no tie.
    """
    order = ranked_ids(scores)
    return {passage_id: float(len(order) - rank) for rank, passage_id in enumerate(order)}
