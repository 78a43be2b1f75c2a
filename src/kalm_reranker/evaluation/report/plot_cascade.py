"""Cascades on the plane of cost and quality, among single passes of the same models."""

from collections.abc import Sequence

from kalm_reranker.evaluation.report.axes import Looks, draw_family, log_ticks, new_axes
from kalm_reranker.evaluation.report.figure import INK, Plot, Sheet
from kalm_reranker.evaluation.report.labels import Label, room_for, write_labels
from kalm_reranker.evaluation.report.summary import Summary, families, is_cascade
from kalm_reranker.evaluation.report.wording import (
    measure_title,
    ms_text,
    quality_text,
    shorten,
)

_LABELLED = 12  # more cascades than this, and only the front is named
_MANY = 8  # with more labels than this the plot takes a row of its own
_LEAST = 4.0  # inches


def cascades(summaries: Sequence[Summary], looks: Looks, measure: str, over: str) -> Plot | None:
    """Returns the plot of cascade settings; None without a cascade that was timed."""
    timed = [one for one in summaries if one.quality is not None and one.ms]
    found = [one for one in timed if is_cascade(one)]
    if not found:
        return None
    title = measure_title(measure)
    # A cascade is seen among single passes of its model, a blended one among blends of these.
    kin = {("blend" if one.info.kind == "blend" else "kalm", one.info.model) for one in found}
    curves = [family for family in families(timed) if (family.kind, family.model) in kin]
    points = [*found, *(one for family in curves for one in family.members)]
    front = pareto(points)
    # Ratios once a model: codecs lie close together.
    marked = list({(one.kind, one.model): one for one in reversed(curves)}.values())
    named = [one for one in found if len(found) <= _LABELLED or one in front]

    def tip(one: Summary) -> str:
        return f"{one.info.name}: {title} {quality_text(one.quality)}, {ms_text(one.ms)}"

    def draw(sheet: Sheet) -> None:
        plot = new_axes(
            sheet, "Cascades: quality against time", "milliseconds per query", f"{title}, {over}"
        )
        plot.set_xscale("log")
        if len(front) > 1:
            plot.plot(
                [one.ms for one in front],
                [one.quality for one in front],
                color=INK,
                linewidth=5,
                alpha=0.12,
                drawstyle="steps-post",
                solid_capstyle="round",
                zorder=1.1,
            )
        near: list[Label] = []
        labels: list[Label | None] = [
            draw_family(
                sheet,
                plot,
                family,
                looks,
                lambda one: one.ms,
                lambda one: one.quality,
                tip,
                mark_ratios=len(family.members) > 1 and family in marked,
            )
            for family in curves
        ]
        for one in found:
            color, marker = looks.of(one)
            (artist,) = plot.plot(
                one.ms, one.quality, marker=marker, markersize=8, color=color, linestyle=""
            )
            sheet.tip(artist, tip(one))
            if one in named:
                near.append(Label(one.ms, one.quality or 0.0, setting(one), color))
        plot.margins(x=0.08, y=0.12)
        log_ticks(plot, lambda at: f"{at:,.4g}")
        write_labels(sheet.figure, plot, [one for one in labels if one is not None], near=near)

    count = len(curves) + len(named)
    return Plot(
        name="cascades",
        title="Cascades: quality against time",
        caption=(
            "Diamonds: cascades (ratio of the first pass → ratio of the second, and how many "
            "candidates reach it). Curves: one pass at a single ratio. Shaded: what no other "
            "setting beats in both."
        ),
        height=room_for(count, _LEAST),
        wide=count > _MANY,
        draw=draw,
    )


def pareto(points: Sequence[Summary]) -> list[Summary]:
    """Returns those that no other point beats in time and quality, ascending by time."""
    front: list[Summary] = []
    for one in sorted(points, key=lambda one: (one.ms or 0.0, -(one.quality or 0.0))):
        if not front or (one.quality or 0.0) > (front[-1].quality or 0.0):
            front.append(one)
    return front


def setting(one: Summary) -> str:
    """Returns a cascade's setting in short, or its name where that is not known."""
    info = one.info
    if info.coarse_ratio is None or info.fine_count is None:
        return shorten(info.name)
    fine = f"{info.compression_ratio}" if info.compression_ratio is not None else "own"
    blended = "blend, " if info.kind == "blend" else ""
    return f"{blended}{info.coarse_ratio} → {fine}, top {info.fine_count}"
