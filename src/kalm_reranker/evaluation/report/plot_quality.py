"""Plots of quality: over compression ratios, bytes per passage, and milliseconds per query."""

from collections.abc import Callable, Sequence

from kalm_reranker.evaluation.report.axes import (
    Looks,
    Value,
    draw_family,
    draw_level,
    log_ticks,
    new_axes,
    ratio_ticks,
)
from kalm_reranker.evaluation.report.figure import Plot, Sheet
from kalm_reranker.evaluation.report.labels import Label, room_for, write_labels
from kalm_reranker.evaluation.report.summary import (
    Summary,
    families,
    is_cascade,
    ratio_families,
)
from kalm_reranker.evaluation.report.wording import (
    bytes_text,
    measure_title,
    ms_text,
    quality_text,
    shorten,
)

_LEAST = 4.0  # inches
_MANY = 8  # with more labels than this a plot takes a row of its own


def by_ratio(
    summaries: Sequence[Summary], looks: Looks, measure: str, value: Value, name: str, over: str
) -> Plot | None:
    """Returns the plot of a measure by compression ratio; None without two ratios of a family."""
    curves = [
        family
        for family in ratio_families(summaries)
        if sum(value(one) is not None for one in family.members) > 1
    ]
    if not curves:
        return None
    inside = [one for family in families(summaries) for one in family.members]
    levels = [
        (one, height)
        for one in summaries
        if one not in inside and not is_cascade(one) and (height := value(one)) is not None
    ]
    title = measure_title(measure)

    def draw(sheet: Sheet) -> None:
        plot = new_axes(
            sheet, f"{title} by compression ratio", "tokens per stored slot", f"{title}, {over}"
        )
        labels: list[Label | None] = []
        for family in curves:
            labels.append(
                draw_family(
                    sheet,
                    plot,
                    family,
                    looks,
                    lambda one: one.info.compression_ratio,
                    value,
                    lambda one: f"{one.info.name}: {title} {quality_text(value(one))}",
                )
            )
        for one, height in levels:
            tip = f"{one.info.name}: {title} {quality_text(height)}"
            labels.append(draw_level(sheet, plot, one, height, looks, tip))
        ratio_ticks(
            plot,
            (one.info.compression_ratio or 1 for family in curves for one in family.members),
        )
        plot.margins(y=0.08)
        write_labels(sheet.figure, plot, [one for one in labels if one is not None])

    count = len(curves) + len(levels)
    caption = "Solid: models alone. Dashed: blended with the first stage's scores."
    if levels:
        caption += " Level lines: rankers without a ratio."
    return Plot(
        name=name,
        title=f"{title} by compression ratio",
        caption=caption,
        height=room_for(count, _LEAST),
        wide=count > _MANY,
        draw=draw,
    )


def by_bytes(summaries: Sequence[Summary], looks: Looks, measure: str, over: str) -> Plot | None:
    """Returns the plot of quality by bytes per passage; None where nothing is stored."""
    return _by_cost(
        summaries,
        looks,
        measure,
        over,
        name="quality-by-bytes",
        words="stored bytes per passage",
        value=lambda one: one.num_bytes,
        text=bytes_text,
        absent="stores nothing",
    )


def by_time(summaries: Sequence[Summary], looks: Looks, measure: str, over: str) -> Plot | None:
    """Returns the plot of quality by time per query; None where it was not measured."""
    return _by_cost(
        summaries,
        looks,
        measure,
        over,
        name="quality-by-time",
        words="milliseconds per query",
        value=lambda one: one.ms,
        text=ms_text,
        absent="not timed",
    )


def _by_cost(
    summaries: Sequence[Summary],
    looks: Looks,
    measure: str,
    over: str,
    *,
    name: str,
    words: str,
    value: Value,
    text: Callable[[float | None], str],
    absent: str,
) -> Plot | None:
    def cost(one: Summary) -> float | None:
        found = value(one)
        return found if found else None  # zero has no place on a logarithmic axis

    shown = [one for one in summaries if one.quality is not None]
    placed = [one for one in shown if cost(one) is not None]
    if not placed:
        return None
    title = measure_title(measure)
    curves = [
        family for family in families(shown) if any(cost(one) is not None for one in family.members)
    ]
    inside = [one for family in curves for one in family.members]
    cascades = [one for one in placed if is_cascade(one)]
    singles = [one for one in placed if one not in inside and one not in cascades]
    levels = [one for one in shown if one not in placed and one not in inside]
    levels = [one for one in levels if not is_cascade(one)]

    def tip(one: Summary) -> str:
        return f"{one.info.name}: {title} {quality_text(one.quality)}, {text(cost(one))}"

    def draw(sheet: Sheet) -> None:
        plot = new_axes(sheet, f"{title} by {words}", words, f"{title}, {over}")
        plot.set_xscale("log")
        labels: list[Label | None] = []
        near: list[Label] = []
        for family in curves:
            labels.append(
                draw_family(
                    sheet,
                    plot,
                    family,
                    looks,
                    cost,
                    lambda one: one.quality,
                    tip,
                    mark_ratios=len(family.members) > 1 and len(curves) <= 4,
                )
            )
        for one in [*singles, *cascades]:
            color, marker = looks.of(one)
            (artist,) = plot.plot(
                cost(one), one.quality, marker=marker, color=color, markersize=6, linestyle=""
            )
            sheet.tip(artist, tip(one))
            if one in singles:
                near.append(Label(cost(one), one.quality or 0, shorten(one.info.name), color))
        if cascades:
            top = max(cascades, key=lambda one: one.quality or 0.0)
            called = shorten(top.info.name) if len(cascades) == 1 else "best cascade"
            near.append(Label(cost(top), top.quality or 0, called, looks.of(top)[0]))
        for one in levels:
            labels.append(
                draw_level(sheet, plot, one, one.quality or 0, looks, f"{tip(one)} {absent}")
            )
        plot.margins(x=0.06, y=0.1)
        log_ticks(plot, lambda at: text_of(at))
        write_labels(sheet.figure, plot, [one for one in labels if one is not None], near=near)

    def text_of(at: float) -> str:
        return text(at).replace(".00 ", " ").replace(".0 ", " ").replace(" ms", "")

    count = len(curves) + len(singles) + len(levels) + bool(cascades)
    caption = f"Up is better, left is cheaper. The axis of {words} is logarithmic."
    if levels:
        caption += f" Level lines: {absent}."
    if cascades:
        caption += " Thin diamonds: cascades."
    return Plot(
        name=name,
        title=f"{title} by {words}",
        caption=caption,
        height=room_for(count, _LEAST),
        wide=count > _MANY,
        draw=draw,
    )
