"""Labels beside a plot, moved apart where what they name lies close together."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

# Where a label may stand beside its point: right, left, above, below.
_SIDES = (
    (1.0, 0.0, "left", "center"),
    (-1.0, 0.0, "right", "center"),
    (0.0, 1.0, "center", "bottom"),
    (0.0, -1.0, "center", "top"),
)
_RIGHT = 1.025  # where labels begin, as a part of the plot's width


class Label(NamedTuple):
    """What a curve, line or point is called.

    Attributes:
        x: Where a thin line leads to, in the plot's own units; None for its right edge.
        y: The same.
        text: At the right of the plot.
        color: Of text and line.
    """

    x: float | None
    y: float
    text: str
    color: str


def room_for(num_labels: int, least: float) -> float:
    """Returns the height in inches of a plot with so many labels."""
    return max(least, 1.1 + 0.215 * num_labels)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Moves places apart to at least `gap`, in their order, within 0 and 1 where that is possible.

    Args:
        places: In any order, as parts of the height.
        gap: Least distance between two.

    Returns:
        The new places, in the order given.
    """
    if not places:
        return []
    order = sorted(range(len(places)), key=lambda index: places[index])
    top = max(1.0, gap * (len(places) - 1))
    # Each as low as those below allow, then each as low as those above force it to be, and the
    # middle of both: labels of a crowd end up on both sides of it.
    low = [max(0.0, places[index]) for index in order]
    high = [min(top, place) for place in low]
    for at in range(1, len(low)):
        low[at] = max(low[at], low[at - 1] + gap)
    for at in range(len(high) - 2, -1, -1):
        high[at] = min(high[at], high[at + 1] - gap)
    for at in range(len(low) - 1, -1, -1):
        ceiling = top - gap * (len(low) - 1 - at)
        low[at], high[at] = min(low[at], ceiling), max(high[at], gap * at)
    moved = [0.0] * len(places)
    for at, index in enumerate(order):
        moved[index] = (low[at] + high[at]) / 2
    return moved


def write_labels(
    figure: Any,  # noqa: ANN401
    plot: Any,  # noqa: ANN401
    labels: Sequence[Label],
    *,
    near: Sequence[Label] = (),
    size: float = 9,
) -> None:
    """Writes labels at the right, each with a thin line to what it names.

    Args:
        figure: A matplotlib figure.
        plot: Its axes, finished but for the labels.
        labels: In any order.
        near: Labels of points, which stand beside them where there is room.
        size: Of the text, in points.
    """
    plot.set_xlim(*plot.get_xlim())
    low, high = plot.get_ylim()
    plot.set_ylim(low, high)
    figure.get_layout_engine().execute(figure)  # where the plot will be, without drawing it
    labels = [*labels, *_write_near(figure, plot, near, size)]
    to_axes = plot.transData + plot.transAxes.inverted()
    right = plot.get_xlim()[1]
    ends = [to_axes.transform((right if one.x is None else one.x, one.y)) for one in labels]
    height = plot.get_position().height * figure.get_figheight()
    gap = size * 1.3 / 72 / height
    places = spread([float(end[1]) for end in ends], gap)
    for one, end, place in zip(labels, ends, places, strict=True):
        plot.annotate(
            one.text,
            xy=(min(float(end[0]), 1.0), float(end[1])),
            xytext=(_RIGHT, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=one.color,
            fontsize=size,
            va="center",
            ha="left",
            arrowprops={
                "arrowstyle": "-",
                "color": one.color,
                "linewidth": 0.6,
                "alpha": 0.55,
                "shrinkA": 1,
                "shrinkB": 0 if one.x is None else 3,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
            zorder=1.5,
        )


def _write_near(figure: Any, plot: Any, labels: Sequence[Label], size: float) -> list[Label]:  # noqa: ANN401
    """Writes labels beside their points; returns those for which there is no room."""
    if not labels:
        return []
    unit = figure.dpi / 72
    taken = _ink_of(plot, step=4 * unit)
    frame = plot.get_window_extent()
    left = []
    for one in labels:
        x, y = plot.transData.transform((one.x, one.y))
        width, height = 0.62 * size * len(one.text) * unit, 1.15 * size * unit
        away = 7 * unit
        for across, up, ha, va in _SIDES:
            x0 = x + across * away - {"left": 0.0, "right": width, "center": width / 2}[ha]
            y0 = y + up * away - {"bottom": 0.0, "top": height, "center": height / 2}[va]
            box = (x0, y0, x0 + width, y0 + height)
            inside = frame.x0 <= box[0] and box[2] <= frame.x1
            inside = inside and frame.y0 <= box[1] and box[3] <= frame.y1
            if inside and not any(_within(point, box) for point in taken):
                plot.annotate(
                    one.text,
                    xy=(one.x, one.y),
                    xytext=(7 * across, 7 * up),
                    textcoords="offset points",
                    color=one.color,
                    fontsize=size,
                    ha=ha,
                    va=va,
                    zorder=4,
                )
                steps = int(width / (4 * unit)) + 1
                taken += [
                    (x0 + width * at / steps, y0 + height * part)
                    for at in range(steps + 1)
                    for part in (0.0, 0.5, 1.0)
                ]
                break
        else:
            left.append(one)
    return left


def _ink_of(plot: Any, step: float) -> list[tuple[float, float]]:  # noqa: ANN401
    """Returns where the plot's lines and points are, in pixels, a point every `step` of them."""
    points = []
    for line in plot.get_lines():
        if (line.get_alpha() or 1.0) < 0.3:  # shading, on which text can be read
            continue
        path = line.get_transform().transform(line.get_xydata())
        points += [(float(x), float(y)) for x, y in path]
        for (x0, y0), (x1, y1) in pairwise(path):
            count = min(int(max(abs(x1 - x0), abs(y1 - y0)) / step), 2_000)
            points += [
                (float(x0 + (x1 - x0) * at / count), float(y0 + (y1 - y0) * at / count))
                for at in range(1, count)
            ]
    return points


def _within(point: tuple[float, float], box: tuple[float, float, float, float]) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]
