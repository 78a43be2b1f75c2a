"""Labels at the right end of lines, moved apart where lines end close to each other."""

from collections.abc import Sequence
from typing import Any

_GAP = 0.048  # between labels, as a part of the plot's height
_RIGHT = 1.03  # where labels begin, as a part of its width


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Moves places apart to at least `gap`, in their order, as little as that takes.

    Args:
        places: In any order.
        gap: Least distance between two.

    Returns:
        The new places, in the order given.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    # Groups of touching labels, each centred on the mean of the places it stands for.
    groups: list[list[int]] = []
    for index in order:
        groups.append([index])
        while len(groups) > 1 and _top(groups[-2], places, gap) + gap > _bottom(
            groups[-1], places, gap
        ):
            last = groups.pop()
            groups[-1] += last
    moved = [0.0] * len(places)
    for group in groups:
        start = _bottom(group, places, gap)
        for step, index in enumerate(group):
            moved[index] = start + step * gap
    return moved


def _bottom(group: Sequence[int], places: Sequence[float], gap: float) -> float:
    return sum(places[index] for index in group) / len(group) - gap * (len(group) - 1) / 2


def _top(group: Sequence[int], places: Sequence[float], gap: float) -> float:
    return _bottom(group, places, gap) + gap * (len(group) - 1)


def label_lines(figure: Any, plot: Any, labels: Sequence[tuple[float, str, str]]) -> None:  # noqa: ANN401
    """Writes labels beside the plot, each with a thin line to where its line ends.

    Args:
        figure: A matplotlib figure.
        plot: Its axes, finished but for the labels.
        labels: (y value at the right end, text, color) of each line.
    """
    low, high = plot.get_xlim()
    plot.set_xlim(low, high)
    plot.set_ylim(*plot.get_ylim())
    figure.canvas.draw()
    to_axes = plot.transData + plot.transAxes.inverted()
    ends = [float(to_axes.transform((high, height))[1]) for height, _, _ in labels]
    for end, place, (_, text, color) in zip(ends, spread(ends, _GAP), labels, strict=True):
        plot.annotate(
            text,
            xy=(1.0, end),
            xytext=(_RIGHT, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=color,
            fontsize=8.5,
            va="center",
            ha="left",
            # From the middle of the text's left edge, whatever the angle.
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.6,
                "shrinkA": 2,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )
