"""Two runs against the same judgements: every measure of both, and whether they differ."""

from collections.abc import Sequence
from dataclasses import dataclass

from kalm_reranker.errors import InputError
from kalm_reranker.evaluation.data.collection import Qrels
from kalm_reranker.evaluation.measures.metrics import MEASURES, ROC_AUC, measure_all
from kalm_reranker.evaluation.measures.roc_auc import RocAuc, roc_auc
from kalm_reranker.evaluation.measures.significance import Test, compare
from kalm_reranker.evaluation.results import Comparison
from kalm_reranker.search.ranking import Run


@dataclass(frozen=True, kw_only=True)
class ComparedMeasure:
    """One measure of both runs.

    Attributes:
        measure: Its name as in `MEASURES`.
        baseline: Value of the baseline; None where it has none.
        value: Value of the other run.
        comparison: The test; None where there is none: ROC-AUC, or a single query.
    """

    measure: str
    baseline: float | None
    value: float | None
    comparison: Comparison | None


@dataclass(frozen=True, kw_only=True)
class ComparedRuns:
    """Two runs, measured and compared.

    Attributes:
        num_queries: Judged queries, all of which count.
        measures: In the order asked for.
        notes: What a reader of the numbers has to know, a sentence each.
    """

    num_queries: int
    measures: tuple[ComparedMeasure, ...]
    notes: tuple[str, ...]


def compare_runs(
    baseline: Run,
    run: Run,
    qrels: Qrels,
    *,
    baseline_name: str,
    run_name: str,
    dataset: str,
    measures: Sequence[str] = MEASURES,
    test: Test = "t-test",
    resamples: int = 10_000,
    seed: int = 0,
) -> ComparedRuns:
    """Measures two runs and compares them query by query.

    A judged query without results counts as 0; results for queries without judgements are
    ignored; `notes` say how many. ROC-AUC is of all queries together and has no value by query
    to compare: only both numbers are given.

    Args:
        baseline: Query id -> passage id -> score.
        run: The same of the other run.
        qrels: Query id -> passage id -> relevance, of queries with a relevant passage.
        baseline_name: What to call the baseline.
        run_name: What to call the other run.
        dataset: What to call the judgements.
        measures: Some of `MEASURES`.
        test: See `compare`, as for the two below.
        resamples: Draws of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        InputError: A run has no judged query, the two have none in common, or a score is NaN.
        InvalidOptionError: There are no judgements, or an option of the test is out of range.
        MissingExtraError: ir-measures or scipy is not installed.
    """
    named = {baseline_name: baseline, run_name: run}
    _check_queries(baseline, run, qrels, baseline_name=baseline_name, run_name=run_name)
    notes = [note for name, one in named.items() for note in _coverage(one, qrels, name)]
    if len(qrels) == 1:
        notes.append("One judged query says nothing about others: nothing is tested.")
    ours, theirs = measure_all(run, qrels), measure_all(baseline, qrels)
    compared = []
    for measure in measures:
        if measure == ROC_AUC:
            areas = {name: roc_auc(one, qrels) for name, one in named.items()}
            notes += _about_areas(areas, baseline, run, qrels)
            compared.append(
                ComparedMeasure(
                    measure=measure,
                    baseline=areas[baseline_name].pooled,
                    value=areas[run_name].pooled,
                    comparison=None,
                )
            )
            continue
        comparison = None
        if len(qrels) > 1:
            comparison = compare(
                ours[measure].per_query,
                theirs[measure].per_query,
                measure=measure,
                ranker=run_name,
                baseline=baseline_name,
                dataset=dataset,
                test=test,
                resamples=resamples,
                seed=seed,
            )
        compared.append(
            ComparedMeasure(
                measure=measure,
                baseline=theirs[measure].mean,
                value=ours[measure].mean,
                comparison=comparison,
            )
        )
    return ComparedRuns(num_queries=len(qrels), measures=tuple(compared), notes=tuple(notes))


def _check_queries(
    baseline: Run, run: Run, qrels: Qrels, *, baseline_name: str, run_name: str
) -> None:
    for name, one in ((baseline_name, baseline), (run_name, run)):
        if one.keys().isdisjoint(qrels):
            raise InputError(
                f"{name} has results for {_queries(len(one))}, but for none of the {len(qrels)} "
                f"judged ones{_examples(one, qrels)}.",
                hint="Check that run and judgements belong together and write ids alike.",
            )
    if not (baseline.keys() & run.keys() & qrels.keys()):
        raise InputError(
            f"{baseline_name} and {run_name} have no judged query in common"
            f"{_examples(baseline, run)}.",
            hint="Compare runs over the same queries.",
        )


def _examples(one: Run, other: Run | Qrels) -> str:
    if not one or not other:
        return ""
    return f" (first ids: {next(iter(one))!r} and {next(iter(other))!r})"


def _queries(count: int) -> str:
    return "1 query" if count == 1 else f"{count} queries"


def _coverage(run: Run, qrels: Qrels, name: str) -> list[str]:
    """Returns what `run` lacks and what of it is not looked at."""
    notes = []
    missing = [query_id for query_id in qrels if not run.get(query_id)]
    if missing:
        notes.append(
            f"{name} has no results for {len(missing)} of {len(qrels)} judged queries, which count "
            f"as 0 (first: {missing[0]!r})."
        )
    unjudged = [query_id for query_id in run if query_id not in qrels]
    if unjudged:
        which = "which is" if len(unjudged) == 1 else "which are"
        notes.append(
            f"{name} has results for {_queries(len(unjudged))} without a relevant judgement, "
            f"{which} not looked at (first: {unjudged[0]!r})."
        )
    return notes


def _about_areas(areas: dict[str, RocAuc], baseline: Run, run: Run, qrels: Qrels) -> list[str]:
    notes = [
        f"{name} has no ROC-AUC: {area.reason}."
        for name, area in areas.items()
        if area.reason is not None
    ]
    different = sum(
        baseline.get(query_id, {}).keys() != run.get(query_id, {}).keys() for query_id in qrels
    )
    if different:
        notes.append(
            f"The runs rank different candidates on {different} of {len(qrels)} queries, and "
            "ROC-AUC is over each run's own."
        )
    return notes
