"""The first plot: every ranker's mean over the sets, and where the sets lie."""

from kalm_reranker.evaluation.report.axes import Looks
from kalm_reranker.evaluation.report.figure import MUTED, Plot, Sheet
from kalm_reranker.evaluation.report.summary import Summary
from kalm_reranker.evaluation.report.wording import (
    known,
    measure_title,
    quality_text,
    shorten,
)
from kalm_reranker.evaluation.results import Evaluation


def means(
    evaluation: Evaluation, summaries: list[Summary], looks: Looks, measure: str
) -> Plot | None:
    """Returns the plot of means and single sets by ranker; None without a number."""
    title = measure_title(measure)
    rows = [(one, _sets(evaluation, one, measure)) for one in summaries]
    rows = [(one, sets) for one, sets in rows if sets]
    if not rows:
        return None
    several = len(evaluation.datasets) > 1
    tops = [one.quality for one, _ in rows if one.quality is not None]
    top = max(tops, default=None)

    def draw(sheet: Sheet) -> None:
        plot = sheet.figure.add_subplot()
        plot.set_title(f"{title} by ranker")
        for index, (one, sets) in enumerate(rows):
            color, _ = looks.of(one)
            plot.axhline(index, color=MUTED, linewidth=0.4, alpha=0.35, zorder=1)
            for dataset, value in sets if several else ():
                (dot,) = plot.plot(
                    value,
                    index,
                    marker="|",
                    markersize=9,
                    color=color,
                    alpha=0.45,
                    linestyle="",
                    zorder=2,
                )
                sheet.tip(dot, f"{one.info.name} on {dataset}: {quality_text(value)}")
            if one.quality is None:
                continue
            (dot,) = plot.plot(
                one.quality, index, marker="o", markersize=7, color=color, linestyle="", zorder=3
            )
            sheet.tip(dot, f"{one.info.name}: {quality_text(one.quality)}")
            plot.annotate(
                quality_text(one.quality),
                xy=(1.015, index),
                xycoords=("axes fraction", "data"),
                va="center",
                color=color,
                fontweight="bold" if one.quality == top else "normal",
                annotation_clip=False,
            )
        plot.set_yticks(range(len(rows)), [shorten(one.info.name, 40) for one, _ in rows])
        for tick, (one, _) in zip(plot.get_yticklabels(), rows, strict=True):
            tick.set_color(looks.of(one)[0])
        plot.set_ylim(len(rows) - 0.4, -0.6)
        plot.tick_params(length=0, axis="y")
        plot.spines["left"].set_visible(False)
        plot.grid(axis="x")
        plot.set_xlabel(title, loc="left")

    return Plot(
        name="means",
        title=f"{title} by ranker",
        caption=(
            "Dots and numbers: means over all sets. Strokes: single sets."
            if several
            else "The one set of this evaluation."
        ),
        height=1.2 + 0.27 * len(rows),
        wide=True,
        draw=draw,
    )


def _sets(evaluation: Evaluation, one: Summary, measure: str) -> list[tuple[str, float]]:
    found = []
    for dataset in evaluation.datasets:
        measurement = evaluation.find(dataset.name, one.info.name)
        value = known(measurement.measures.get(measure)) if measurement else None
        if value is not None:
            found.append((dataset.name, value))
    return found
