"""Online cost by compression ratio: what the formula says beside what was measured."""

import math
from collections.abc import Sequence
from typing import Any

from kalm_reranker.evaluation.report.axes import ratio_ticks
from kalm_reranker.evaluation.report.figure import HUES, MUTED, Plot, Sheet
from kalm_reranker.evaluation.report.labels import Label, write_labels
from kalm_reranker.evaluation.report.wording import known, listed, number_text, shorten
from kalm_reranker.evaluation.results import OnlineCost

_WAYS = ("stored", "prefix cached", "encoded")
_SAID = {"measured": "measured", "analytic": "formula"}


def online_cost(costs: Sequence[OnlineCost]) -> Plot | None:
    """Returns the plot of analytic and measured cost; None without costs."""
    models = list(dict.fromkeys(one.model for one in costs))
    # Encoding for the query is the unit of what was measured.
    shown = [one for one in costs if one.way != "encoded" and _has_value(one)]
    if not shown:
        return None
    sets = len({one.dataset for one in shown})

    def draw(sheet: Sheet) -> None:
        sheet.figure.suptitle(
            "Online cost: formula and measurement",
            x=0.01,
            ha="left",
            fontsize=11,
            fontweight="bold",
        )
        lines = math.ceil(len(models) / 2)
        across = min(len(models), 2)
        grid = sheet.figure.subplots(lines, across, squeeze=False, sharey=True)
        for index, plot in enumerate(grid.flat):
            if index < len(models):
                _draw_model(sheet, plot, models[index], shown)
            else:
                plot.set_axis_off()

    caption = (
        "Dashed: the paper's formula, as a share of what a joint cross-encoder of the same model "
        "costs. Solid: measured time, as a share of the time when passages are encoded for the "
        "query. Both axes are logarithmic; the units differ, the slopes can be compared. The "
        "formula knows no prefix cache."
    )
    if sets > 1:
        caption += f" Geometric means over {sets} sets."
    return Plot(
        name="online-cost",
        title="Online cost: formula and measurement",
        caption=caption,
        height=0.5 + 3.6 * math.ceil(len(models) / 2),
        wide=True,
        draw=draw,
    )


def _has_value(cost: OnlineCost) -> bool:
    return max(known(cost.analytic) or 0, known(cost.measured) or 0) > 0


def _draw_model(sheet: Sheet, plot: Any, model: str, costs: Sequence[OnlineCost]) -> None:  # noqa: ANN401
    from matplotlib.ticker import LogLocator

    mine = [one for one in costs if one.model == model]
    ways = [way for way in _WAYS if any(one.way == way for one in mine)]
    ways += [way for way in dict.fromkeys(one.way for one in mine) if way not in ways]
    labels = []
    for names, kind, points in _curves(mine, ways):
        color = HUES[(_WAYS.index(names[0]) if names[0] in _WAYS else len(_WAYS)) % len(HUES)]
        ratios, values = [ratio for ratio, _ in points], [value for _, value in points]
        width = 1.8 if kind == "measured" else 1.2
        style = "-" if kind == "measured" else (0, (4, 2))
        if len(points) == 1:
            # Hardly depends on the ratio, and was measured at one.
            plot.axhline(values[0], color=color, linewidth=width / 2, linestyle=style)
        plot.plot(ratios, values, color=color, linestyle=style, linewidth=width)
        for ratio, value in points:
            (artist,) = plot.plot(
                ratio,
                value,
                marker="o",
                markersize=5 if kind == "measured" else 3,
                color=color,
                linestyle="",
            )
            tip = f"{model}, {listed(names)}, r={ratio}: {kind} {number_text(value)}"
            sheet.tip(artist, tip)
        end = None if len(points) == 1 else ratios[-1]
        labels.append(Label(end, values[-1], f"{listed(names)}, {_SAID[kind]}", color))
    plot.set_yscale("log")
    plot.set_title(shorten(model, 50), fontsize=9.5, color=MUTED)
    plot.set_xlabel("tokens per stored slot", loc="left")
    plot.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    plot.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    plot.grid(axis="y")
    plot.margins(y=0.1)
    ratio_ticks(plot, (one.compression_ratio for one in mine))
    write_labels(sheet.figure, plot, labels)


def _curves(
    costs: Sequence[OnlineCost], ways: Sequence[str]
) -> list[tuple[list[str], str, list[tuple[int, float]]]]:
    """Returns (ways, kind, points); ways that are the same to the formula share a curve."""
    found: list[tuple[list[str], str, list[tuple[int, float]]]] = []
    for kind in _SAID:
        for way in ways:
            points = _points([one for one in costs if one.way == way], kind)
            same = [names for names, other, there in found if (other, there) == (kind, points)]
            if same and kind == "analytic":
                same[0].append(way)
            elif points:
                found.append(([way], kind, points))
    return found


def _points(costs: Sequence[OnlineCost], kind: str) -> list[tuple[int, float]]:
    """Returns (ratio, geometric mean over sets), ascending."""
    found: dict[int, list[float]] = {}
    for one in costs:
        value = known(getattr(one, kind))
        if value is not None and value > 0:
            found.setdefault(one.compression_ratio, []).append(value)
    return [
        (ratio, math.exp(sum(map(math.log, values)) / len(values)))
        for ratio, values in sorted(found.items())
    ]
