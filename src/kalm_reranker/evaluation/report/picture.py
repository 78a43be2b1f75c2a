"""All plots of a report in one picture."""

from collections.abc import Sequence
from typing import Any

from kalm_reranker.evaluation.report.figure import (
    INK,
    WIDE,
    DrawnPlot,
    blank,
    new_sheet,
    pixels_of,
    png_of,
    stack,
    text_strip,
)


def picture(drawn: Sequence[DrawnPlot], title: str, lines: Sequence[str]) -> bytes:
    """Returns a PNG: title and sentences, then the plots, narrow ones in pairs.

    Args:
        drawn: In order; none is fine.
        title: One line.
        lines: Below the title; long ones are wrapped.
    """
    head = new_sheet(WIDE, 0.55)
    head.figure.text(0.1 / WIDE, 0.7, title, fontsize=15, fontweight="bold", color=INK, va="top")
    rows = [_beside([one.pixels for one in row]) for row in pairs(drawn)]
    return png_of(stack([pixels_of(head), text_strip(WIDE, lines, size=9.5), *rows]))


def pairs(drawn: Sequence[DrawnPlot]) -> list[list[DrawnPlot]]:
    """Returns rows of plots: narrow neighbours two by two, wide ones alone."""
    rows: list[list[DrawnPlot]] = []
    for one in drawn:
        fits = rows and len(rows[-1]) == 1 and not rows[-1][0].plot.wide and not one.plot.wide
        if fits:
            rows[-1].append(one)
        else:
            rows.append([one])
    return rows


def _beside(parts: Sequence[Any]) -> Any:  # noqa: ANN401
    """Puts pixels side by side, the upper edges level."""
    import numpy

    tallest = max(one.shape[0] for one in parts)
    columns = []
    for one in parts:
        column = blank(tallest, one.shape[1])
        column[: one.shape[0]] = one
        columns.append(column)
    return numpy.concatenate(columns, axis=1)
