"""Tables of the report as rows of text, for the page and as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from kalm_reranker.evaluation.report.findings import (
    against,
    best_counts,
    best_names,
    row_values,
)
from kalm_reranker.evaluation.report.summary import (
    Summary,
    baseline_of,
    main_measure,
    ratio_families,
)
from kalm_reranker.evaluation.report.wording import (
    SIGNIFICANT,
    difference_text,
    known,
    measure_title,
    p_text,
    quality_text,
)
from kalm_reranker.evaluation.results import Comparison, Evaluation

BETTER, WORSE = "▲", "▼"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of the table.

    Attributes:
        text: As shown.
        best: Whether it is the highest of its row, as shown.
        mark: `BETTER` or `WORSE` where it differs significantly from the baseline, else empty.
        tip: What shows when it is pointed at.
    """

    text: str
    best: bool = False
    mark: str = ""
    tip: str = ""


@dataclass(frozen=True, kw_only=True)
class QualityTable:
    """One measure of all rankers on all sets.

    Attributes:
        measure: Its name in the results.
        title: What readers call it.
        rows: (name of the set, a cell for each ranker).
        means: The same over all sets; None with a single set.
        counts: On how many sets each ranker is the best; None with a single set or ranker.
        marked: Whether a cell has a mark.
    """

    measure: str
    title: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    means: tuple[Cell, ...] | None
    counts: tuple[int, ...] | None
    marked: bool


@dataclass(frozen=True, kw_only=True)
class RatioTable:
    """One measure by compression ratio.

    Attributes:
        title: Of the measure.
        ratios: Columns.
        rows: (label of a family, its numbers as text).
    """

    title: str
    ratios: tuple[int, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def quality_table(evaluation: Evaluation, measure: str) -> QualityTable:
    """Returns the table of one measure."""
    baseline = baseline_of(evaluation)
    rows = []
    for dataset in evaluation.datasets:
        values = row_values(evaluation, dataset.name, measure)
        found = {
            one.ranker: one
            for one in evaluation.comparisons
            if (one.dataset, one.baseline, one.measure) == (dataset.name, baseline, measure)
        }
        rows.append((dataset.name, _cells(values, found)))
    several = len(evaluation.datasets) > 1
    means = {info.name: known(evaluation.mean(info.name, measure)) for info in evaluation.rankers}
    counts = best_counts(evaluation, measure)
    return QualityTable(
        measure=measure,
        title=measure_title(measure),
        rows=tuple(rows),
        means=_cells(means, {}) if several else None,
        counts=tuple(counts.values()) if several and len(counts) > 1 else None,
        marked=any(cell.mark for _, cells in rows for cell in cells),
    )


def ratio_table(summaries: Sequence[Summary], measure: str, field: str) -> RatioTable | None:
    """Returns means by compression ratio; None without two ratios of a family.

    Args:
        summaries: Of all rankers.
        measure: What the numbers are.
        field: Of `Summary`, where they stand.
    """
    found = [
        family
        for family in ratio_families(summaries)
        if sum(getattr(one, field) is not None for one in family.members) > 1
    ]
    if not found:
        return None
    ratios = sorted({one.info.compression_ratio or 0 for each in found for one in each.members})
    rows = []
    for family in found:
        values = {one.info.compression_ratio: getattr(one, field) for one in family.members}
        rows.append((family.label, tuple(quality_text(values.get(ratio)) for ratio in ratios)))
    return RatioTable(title=measure_title(measure), ratios=tuple(ratios), rows=tuple(rows))


def markdown_table(evaluation: Evaluation) -> str:
    """Returns the main measure as a Markdown table, the best of each row in bold."""
    table = quality_table(evaluation, main_measure(evaluation))
    names = [_markdown(info.name) for info in evaluation.rankers]
    lines = [
        f"| {table.title} | {' | '.join(names)} |",
        f"|---|{'---:|' * len(names)}",
    ]
    rows = list(table.rows)
    if table.means is not None:
        rows.append((f"mean of {len(table.rows)}", table.means))
    for name, cells in rows:
        texts = [f"**{cell.text}**" if cell.best else cell.text for cell in cells]
        lines.append(f"| {_markdown(name)} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def describe_comparison(one: Comparison) -> str:
    """Returns a comparison as one line."""
    return (
        f"{difference_text(one.difference)} against {one.baseline}, 95% interval "
        f"{difference_text(one.low)} to {difference_text(one.high)}, p {p_text(one.p_value)}, "
        f"{one.test}"
    )


def compared_rankers(evaluation: Evaluation, measure: str) -> dict[str, list[Comparison]]:
    """Returns the comparisons with the baseline by ranker, in the order of rankers and sets."""
    baseline = baseline_of(evaluation)
    order = [dataset.name for dataset in evaluation.datasets]
    found = {}
    for info in evaluation.rankers:
        mine = against(evaluation.comparisons, info.name, baseline or "", measure)
        if mine:
            known_ones = [one for one in mine if one.dataset in order]
            found[info.name] = sorted(known_ones, key=lambda one: order.index(one.dataset))
    return found


def _cells(values: dict[str, float | None], comparisons: dict[str, Comparison]) -> tuple[Cell, ...]:
    texts = {name: quality_text(value) for name, value in values.items()}
    best = best_names(values)
    cells = []
    for name in values:
        one = comparisons.get(name)
        mark = ""
        if one is not None and one.p_value < SIGNIFICANT and one.difference:
            mark = BETTER if one.difference > 0 else WORSE
        cells.append(
            Cell(
                text=texts[name],
                best=name in best,
                mark=mark,
                tip=f"{name}: {describe_comparison(one)}" if one is not None else name,
            )
        )
    return tuple(cells)


def _markdown(text: str) -> str:
    """Escapes what would end a cell or start markup."""
    text = " ".join(text.split())
    for character in "\\|*_`<>[]":
        text = text.replace(character, f"\\{character}")
    return text
