"""Histograms of scores, relevant candidates against the others, a small panel for each ranker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kalm_reranker.evaluation.report.axes import Looks
from kalm_reranker.evaluation.report.figure import INK, MUTED, Plot, Sheet
from kalm_reranker.evaluation.report.summary import Summary, families
from kalm_reranker.evaluation.report.wording import known, shorten
from kalm_reranker.evaluation.results import Evaluation, ScoreDistribution

_BINS = 40
_ACROSS = 6  # panels in a row
_TITLE = 27  # characters of a panel's title


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One histogram.

    Attributes:
        summary: The ranker.
        title: Of the panel.
        edges: Bounds of the bins, the same for all of a family.
        relevant: Share of relevant candidates by bin.
        other: Share of the others by bin.
    """

    summary: Summary
    title: str
    edges: list[float]
    relevant: list[float]
    other: list[float]


def distributions(
    evaluation: Evaluation, summaries: Sequence[Summary], looks: Looks
) -> Plot | None:
    """Returns the plot of score distributions; None where they were not asked for."""
    rows = panel_rows(evaluation, summaries)
    if not rows:
        return None
    across = max(len(panels) for _, panels in rows)

    def draw(sheet: Sheet) -> None:
        sheet.figure.suptitle(
            "Scores of relevant candidates and of the others",
            x=0.01,
            ha="left",
            fontsize=11,
            fontweight="bold",
        )
        grid = sheet.figure.subplots(len(rows), max(across, 3), squeeze=False)
        for (label, panels), line in zip(rows, grid, strict=True):
            for index, plot in enumerate(line):
                if index < len(panels):
                    _draw_panel(sheet, plot, panels[index], label, looks)
                else:
                    plot.set_axis_off()

    return Plot(
        name="distributions",
        title="Scores of relevant candidates and of the others",
        caption=(
            "Coloured: candidates judged relevant. Grey: all others, judged or not. Areas are "
            "equal; scores of all sets together. The less both overlap, the better one threshold "
            "serves every query. Panels of one family share their axis."
        ),
        height=0.6 + 1.7 * len(rows),
        wide=True,
        draw=draw,
    )


def panel_rows(
    evaluation: Evaluation, summaries: Sequence[Summary]
) -> list[tuple[str, list[Panel]]]:
    """Returns rows of panels: a family each, then all rankers of no family."""
    groups: list[tuple[str, list[Summary]]] = []
    grouped = families(summaries)
    for family in grouped:
        if len(family.members) > 1:
            groups.append((family.label, list(family.members)))
    inside = [one for _, members in groups for one in members]
    found = []
    for label, members in groups:
        pooled = _pool([(one, _found(evaluation, one)) for one in members], _ratio_title)
        found += [(label, part) for part in _lines(pooled)]
    rest = []
    for one in summaries:
        if one not in inside:
            rest += _pool([(one, _found(evaluation, one))], _name_title)
    return found + [("", part) for part in _lines(rest)]


def rebin(
    distribution: ScoreDistribution, counts: Sequence[int], edges: Sequence[float]
) -> list[float]:
    """Spreads the counts of a histogram over other bins, evenly within each of its own.

    Args:
        distribution: Whose bins the counts are of.
        counts: Its `relevant` or `other`.
        edges: Of the new bins, equal ones that reach over all old ones.
    """
    moved = [0.0] * (len(edges) - 1)
    width = edges[1] - edges[0]
    for low, high, count in zip(distribution.edges, distribution.edges[1:], counts, strict=False):
        if not count:
            continue
        first = min(max(int((low - edges[0]) / width), 0), len(moved) - 1)
        last = min(max(int((high - edges[0]) / width), first), len(moved) - 1)
        if high <= low:
            moved[first] += count
            continue
        shares = [
            max(0.0, min(high, edges[at + 1]) - max(low, edges[at]))
            for at in range(first, last + 1)
        ]
        total = sum(shares)
        for at, share in enumerate(shares):
            moved[first + at] += count * share / total if total else count / len(shares)
    return moved


def _found(evaluation: Evaluation, one: Summary) -> list[ScoreDistribution]:
    found = []
    for dataset in evaluation.datasets:
        measurement = evaluation.find(dataset.name, one.info.name)
        distribution = measurement.distribution if measurement is not None else None
        if distribution is None or len(distribution.edges) < 2:
            continue
        if all(known(edge) is not None for edge in distribution.edges):
            found.append(distribution)
    return found


def _pool(
    found: Sequence[tuple[Summary, list[ScoreDistribution]]], title: Callable[[Summary], str]
) -> list[Panel]:
    """Puts the sets of each ranker into one histogram, over bins that all rankers share."""
    every = [one for _, several in found for one in several]
    if not every:
        return []
    low, high = min(one.edges[0] for one in every), max(one.edges[-1] for one in every)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = [low + (high - low) * at / _BINS for at in range(_BINS + 1)]
    panels = []
    for summary, several in found:
        if not several:
            continue
        relevant = _share([rebin(one, one.relevant, edges) for one in several])
        other = _share([rebin(one, one.other, edges) for one in several])
        panels.append(
            Panel(
                summary=summary, title=title(summary), edges=edges, relevant=relevant, other=other
            )
        )
    return panels


def _share(histograms: Sequence[Sequence[float]]) -> list[float]:
    summed = [sum(bins) for bins in zip(*histograms, strict=True)]
    total = sum(summed)
    return [value / total for value in summed] if total else summed


def _lines(panels: list[Panel]) -> list[list[Panel]]:
    return [panels[start : start + _ACROSS] for start in range(0, len(panels), _ACROSS)]


def _ratio_title(one: Summary) -> str:
    return f"r={one.info.compression_ratio}"


def _name_title(one: Summary) -> str:
    return shorten(one.info.name, _TITLE)


def _draw_panel(sheet: Sheet, plot: Any, panel: Panel, label: str, looks: Looks) -> None:  # noqa: ANN401
    color, _ = looks.of(panel.summary)
    color = INK if color == MUTED else color  # grey is the others'
    for shares, ink, alpha in ((panel.other, MUTED, 0.3), (panel.relevant, color, 0.4)):
        artist = plot.stairs(shares, panel.edges, fill=True, color=ink, alpha=alpha)
        kind = "others" if shares is panel.other else "relevant"
        sheet.tip(artist, f"{panel.summary.info.name}: scores of {kind}")
        plot.stairs(shares, panel.edges, color=ink, linewidth=1)
    auc = panel.summary.roc_auc
    auc_text = f"AUC {auc:.3f}" if auc is not None else ""
    if label:  # of a family, of which the panel's title is the ratio
        lines = [shorten(label, _TITLE), f"{panel.title}  {auc_text}".strip()]
    else:
        lines = [panel.title, auc_text]
    text = "\n".join(lines)
    plot.set_title(text, fontsize=8.5, fontweight="normal", pad=3, color=color)
    plot.set_yticks([])
    plot.spines["left"].set_visible(False)
    plot.locator_params(axis="x", nbins=4)
    plot.tick_params(labelsize=8, length=2)
    plot.set_ylim(bottom=0)
