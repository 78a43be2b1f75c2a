"""All plots of a report in one picture."""

from collections.abc import Sequence
from typing import Any

from kalm_reranker.evaluation.report.figure import (
    BACK,
    INK,
    MUTED,
    WIDE,
    DrawnPlot,
    new_sheet,
    pixels_of,
    png_of,
)

_WRAP = 150  # characters of a line in the head


def picture(drawn: Sequence[DrawnPlot], title: str, lines: Sequence[str]) -> bytes:
    """Returns a PNG: title and sentences, then the plots, narrow ones in pairs.

    Args:
        drawn: In order; none is fine.
        title: One line.
        lines: Below the title; long ones are wrapped.
    """
    import numpy

    rows = [_head(title, lines), *(_row(pair) for pair in pairs(drawn))]
    width = max(row.shape[1] for row in rows)
    picture = numpy.concatenate([_widen(row, width) for row in rows])
    return png_of(picture)


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


def _row(pair: Sequence[DrawnPlot]) -> Any:  # noqa: ANN401
    import numpy

    tallest = max(one.pixels.shape[0] for one in pair)
    return numpy.concatenate([_heighten(one.pixels, tallest) for one in pair], axis=1)


def _widen(pixels: Any, width: int) -> Any:  # noqa: ANN401
    full = _empty(pixels.shape[0], width)
    full[:, : pixels.shape[1]] = pixels
    return full


def _heighten(pixels: Any, height: int) -> Any:  # noqa: ANN401
    full = _empty(height, pixels.shape[1])
    full[: pixels.shape[0]] = pixels
    return full


def _empty(height: int, width: int) -> Any:  # noqa: ANN401
    import numpy

    ink = [int(BACK[at : at + 2], 16) for at in (1, 3, 5)]
    return numpy.full((height, width, 4), [*ink, 255], dtype=numpy.uint8)


def _head(title: str, lines: Sequence[str]) -> Any:  # noqa: ANN401
    import textwrap

    wrapped = [part for line in lines for part in textwrap.wrap(line, _WRAP) or [""]]
    height = 0.75 + 0.2 * len(wrapped)
    sheet = new_sheet(WIDE, height)
    sheet.figure.text(
        0.012, 1 - 0.2 / height, title, fontsize=15, fontweight="bold", color=INK, va="top"
    )
    for index, line in enumerate(wrapped):
        place = 1 - (0.58 + 0.2 * index) / height
        sheet.figure.text(0.012, place, line, fontsize=9.5, color=MUTED, va="top")
    return pixels_of(sheet)
