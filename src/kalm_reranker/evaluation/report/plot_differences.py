"""Differences to the baseline with their intervals, set by set, for the best ranker."""

from collections.abc import Sequence

from kalm_reranker.evaluation.report.figure import HUES, MUTED, Plot, Sheet
from kalm_reranker.evaluation.report.tables import describe_comparison
from kalm_reranker.evaluation.report.wording import (
    SIGNIFICANT,
    difference_text,
    measure_title,
    shorten,
)
from kalm_reranker.evaluation.results import Comparison

_BETTER, _WORSE = HUES[0], HUES[1]


def differences(comparisons: Sequence[Comparison]) -> Plot | None:
    """Returns the plot of one ranker's comparisons with one baseline; None without any."""
    if not comparisons:
        return None
    first = comparisons[0]
    title = (
        f"{shorten(first.ranker, 40)} against {shorten(first.baseline, 40)}: "
        f"difference in {measure_title(first.measure)}"
    )
    rows = sorted(comparisons, key=lambda one: -one.difference)

    def draw(sheet: Sheet) -> None:
        plot = sheet.figure.add_subplot()
        plot.set_title(title)
        plot.axvline(0, color=MUTED, linewidth=1)
        for index, one in enumerate(rows):
            sure = one.p_value < SIGNIFICANT
            color = _BETTER if one.difference > 0 else _WORSE
            color = color if sure else MUTED
            (line,) = plot.plot(
                [one.low, one.high], [index, index], color=color, linewidth=1.6, zorder=2
            )
            (dot,) = plot.plot(one.difference, index, marker="o", color=color, markersize=6)
            if not sure:
                dot.set_markerfacecolor(sheet.figure.get_facecolor())
            text = f"{one.dataset}: {describe_comparison(one)}"
            sheet.tip(line, text)
            sheet.tip(dot, text)
            plot.annotate(
                difference_text(one.difference),
                xy=(1.015, index),
                xycoords=("axes fraction", "data"),
                va="center",
                color=color,
                annotation_clip=False,
            )
        plot.set_yticks(range(len(rows)), [shorten(one.dataset, 40) for one in rows])
        plot.set_ylim(len(rows) - 0.4, -0.6)
        plot.tick_params(length=0, axis="y")
        plot.spines["left"].set_visible(False)
        plot.grid(axis="x")
        plot.xaxis.set_major_formatter(lambda value, _: f"{value:+g}" if value else "0")

    return Plot(
        name="differences",
        title=title,
        caption=(
            f"Mean over queries with its 95% interval ({first.test}). Filled: p below "
            f"{SIGNIFICANT}, for each set alone; with many sets, some are below it by chance."
        ),
        height=1.1 + 0.27 * len(rows),
        wide=True,
        draw=draw,
    )
