"""What several plots draw alike: axes, curves of a family, lines of rankers without one."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kalm_reranker.evaluation.report.figure import HUES, INK, MUTED, Sheet
from kalm_reranker.evaluation.report.labels import Label
from kalm_reranker.evaluation.report.summary import Family, Summary, is_cascade
from kalm_reranker.evaluation.report.wording import shorten

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_PEER_MARKERS = {
    "first stage": "*",
    "cross-encoder": "s",
    "embedding": "D",
    "late interaction": "^",
    "run": "X",
    "cascade": "d",
    "kalm": "o",
    "blend": "o",
}

Value = Callable[[Summary], float | None]


class Looks:
    """Colours and markers of an evaluation's families, the same in all plots.

    Args:
        families: All of them, in their order.
    """

    def __init__(self, families: Sequence[Family]) -> None:
        models = list(dict.fromkeys(one.model for one in families))
        codecs = list(dict.fromkeys(one.codec for one in families))
        self._looks: dict[str, tuple[str, str]] = {}  # by ranker
        self._colors: dict[tuple[str, str | None], str] = {}  # of the first family
        for index, one in enumerate(families):
            # One hue for each model; a single model's kinds and codecs are told apart by it.
            hue = HUES[(models.index(one.model) if len(models) > 1 else index) % len(HUES)]
            marker = _MARKERS[codecs.index(one.codec) % len(_MARKERS)]
            self._looks |= {member.info.name: (hue, marker) for member in one.members}
            self._colors.setdefault((one.kind, one.model), hue)

    def of(self, summary: Summary) -> tuple[str, str]:
        """Returns color and marker of one ranker, also of those in no family."""
        info = summary.info
        if info.name in self._looks:
            return self._looks[info.name]
        color = MUTED if info.kind == "first stage" else INK
        if is_cascade(summary):
            kind = "kalm" if info.kind == "cascade" else info.kind
            return self._colors.get((kind, info.model), INK), _PEER_MARKERS["cascade"]
        return color, _PEER_MARKERS[info.kind]


def new_axes(sheet: Sheet, title: str, x_title: str, y_title: str) -> Any:  # noqa: ANN401
    """Returns axes over the whole sheet; the y axis has its title above, to be read level."""
    plot = sheet.figure.add_subplot()
    plot.set_title(title, pad=24)
    plot.annotate(
        y_title,
        xy=(0, 1),
        xytext=(0, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        color=MUTED,
        fontsize=9,
        va="bottom",
    )
    plot.set_xlabel(x_title, loc="left")
    plot.grid(axis="y")
    plot.tick_params(length=0, axis="y")
    return plot


def ratio_ticks(plot: Any, ratios: Iterable[int]) -> None:  # noqa: ANN401
    """Gives the x axis the ratios there are, in powers of two."""
    values = sorted(set(ratios))
    plot.set_xscale("log", base=2)
    plot.set_xticks(values, [str(value) for value in values])
    plot.minorticks_off()


def log_ticks(plot: Any, text: Callable[[float], str]) -> None:  # noqa: ANN401
    """Makes the x axis logarithmic, with marks at 1, 2 and 5 where they fit."""
    from matplotlib.ticker import LogLocator, NullLocator

    plot.set_xscale("log")
    low, high = plot.get_xlim()
    crowded = high / low > 300
    plot.xaxis.set_major_locator(LogLocator(subs=(1.0,) if crowded else (1.0, 2.0, 5.0)))
    plot.xaxis.set_minor_locator(NullLocator())
    plot.xaxis.set_major_formatter(lambda value, _: text(value))


def draw_family(
    sheet: Sheet,
    plot: Any,  # noqa: ANN401
    family: Family,
    looks: Looks,
    x: Value,
    y: Value,
    tip: Callable[[Summary], str],
    *,
    mark_ratios: bool = False,
) -> Label | None:
    """Draws a curve with its points, solid for models alone and dashed for blends.

    Returns:
        What to call it, at the end that lies furthest to the right; None without a point.
    """
    points = []
    for one in family.members:
        across, up = x(one), y(one)
        if across is not None and up is not None:
            points.append((across, up, one))
    if not points:
        return None
    points.sort(key=lambda point: point[2].info.compression_ratio or 0)
    color, marker = looks.of(family.members[0])
    plot.plot(
        [point[0] for point in points],
        [point[1] for point in points],
        color=color,
        linewidth=1.8,
        linestyle=(0, (4, 2)) if family.kind == "blend" else "-",
        zorder=2,
    )
    for across, up, one in points:
        (artist,) = plot.plot(
            across, up, marker=marker, markersize=5.5, color=color, linestyle="", zorder=3
        )
        sheet.tip(artist, tip(one))
        if mark_ratios:
            plot.annotate(
                f"r{one.info.compression_ratio}",
                xy=(across, up),
                xytext=(4, -3),
                textcoords="offset points",
                ha="left",
                va="top",
                color=MUTED,
                fontsize=7.5,
                zorder=4,
            )
    end = max(points, key=lambda point: point[0])
    return Label(end[0], end[1], shorten(family.label), color)


def draw_level(
    sheet: Sheet,
    plot: Any,  # noqa: ANN401
    summary: Summary,
    height: float,
    looks: Looks,
    tip: str,
    note: str = "",
) -> Label:
    """Draws a ranker that has no place on the x axis, as a line across."""
    color, _ = looks.of(summary)
    style = (0, (1, 1.6)) if summary.info.kind != "first stage" else (0, (5, 2, 1, 2))
    artist = plot.axhline(height, color=color, linewidth=1.1, linestyle=style, zorder=1.2)
    sheet.tip(artist, tip)
    return Label(None, height, shorten(summary.info.name) + note, color)
