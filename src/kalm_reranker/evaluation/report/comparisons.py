"""Comparisons with the baseline as the page shows them: a part for each ranker."""

from collections.abc import Sequence
from dataclasses import dataclass

from kalm_reranker.evaluation.report.findings import verdicts
from kalm_reranker.evaluation.report.summary import baseline_of, main_measure
from kalm_reranker.evaluation.report.tables import compared_rankers
from kalm_reranker.evaluation.report.wording import (
    SIGNIFICANT,
    difference_text,
    known,
    measure_title,
    p_text,
)
from kalm_reranker.evaluation.results import Comparison, Evaluation


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """One set.

    Attributes:
        dataset: Its name.
        difference: As text.
        interval: As text.
        p: As text.
        wins: Queries on which the ranker is better.
        losses: Queries on which the baseline is.
        queries: Compared ones.
        verdict: "better", "worse" or "unclear".
        left: Where the interval begins in its bar, in percent.
        width: Of the interval, in percent.
        middle: Where the difference is, in percent.
    """

    dataset: str
    difference: str
    interval: str
    p: str
    wins: int
    losses: int
    queries: int
    verdict: str
    left: float
    width: float
    middle: float


@dataclass(frozen=True, kw_only=True)
class ComparisonGroup:
    """One ranker against the baseline.

    Attributes:
        ranker: Its name.
        baseline: The other's.
        measure: Title of what is compared.
        test: How.
        better: Sets that are significantly better.
        worse: Sets that are significantly worse.
        unclear: The others.
        mean: Mean difference over sets, as text.
        rows: By set.
    """

    ranker: str
    baseline: str
    measure: str
    test: str
    better: int
    worse: int
    unclear: int
    mean: str
    rows: tuple[ComparisonRow, ...]


def comparison_groups(evaluation: Evaluation) -> list[ComparisonGroup]:
    """Returns a group for each ranker that was compared with the baseline."""
    if not evaluation.comparisons:
        return []
    measures = list(dict.fromkeys(one.measure for one in evaluation.comparisons))
    main = main_measure(evaluation)
    measure = main if main in measures else measures[0]
    compared = compared_rankers(evaluation, measure)
    # One scale for all: bars can be compared between rankers.
    ends = [
        abs(end)
        for rows in compared.values()
        for one in rows
        for end in (one.low, one.high, one.difference)
        if known(end) is not None
    ]
    reach = max(ends, default=0.0) or 1.0
    return [
        _group(name, rows, baseline_of(evaluation) or "", measure, reach)
        for name, rows in compared.items()
        if rows
    ]


def _group(
    name: str, rows: Sequence[Comparison], baseline: str, measure: str, reach: float
) -> ComparisonGroup:
    better, worse, unclear = verdicts(rows)
    return ComparisonGroup(
        ranker=name,
        baseline=baseline,
        measure=measure_title(measure),
        test=rows[0].test,
        better=better,
        worse=worse,
        unclear=unclear,
        mean=difference_text(sum(one.difference for one in rows) / len(rows)),
        rows=tuple(_row(one, reach) for one in rows),
    )


def _row(one: Comparison, reach: float) -> ComparisonRow:
    def place(value: float) -> float:
        inside = min(max(value / reach, -1.0), 1.0) if known(value) is not None else 0.0
        return round(50 + 50 * inside, 2)

    verdict = "unclear"
    if one.p_value < SIGNIFICANT and one.difference:
        verdict = "better" if one.difference > 0 else "worse"
    return ComparisonRow(
        dataset=one.dataset,
        difference=difference_text(one.difference),
        interval=f"{difference_text(one.low)} to {difference_text(one.high)}",
        p=p_text(one.p_value),
        wins=one.wins,
        losses=one.losses,
        queries=one.num_queries,
        verdict=verdict,
        left=place(one.low),
        width=round(place(one.high) - place(one.low), 2),
        middle=place(one.difference),
    )
