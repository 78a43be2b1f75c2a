"""Two plots of a benchmark: time against passage length, and time against ratio.

Beside the measured points stand the curves of the paper's formula (`analytic_cost.py`), one factor
for both: that which makes the formula's cross-encoder meet the measured one at the longest
length.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kalm_reranker.bench.labels import label_lines
from kalm_reranker.bench.report import (
    CACHED,
    ENCODED,
    STORED,
    TOGETHER,
    BenchReport,
    Measurement,
    Way,
)
from kalm_reranker.bench.settings import JOINT, OFFICIAL, OURS
from kalm_reranker.bench.view import rounds_of
from kalm_reranker.extras import import_extra
from kalm_reranker.machine import describe

LENGTH_PLOT, RATIO_PLOT = "time-by-length", "time-by-ratio"
_FORMATS = ("png", "svg")
_DPI = 160
_INCHES = (9.0, 5.2)
_SAMPLES = 60  # points of a curve

# Of Okabe and Ito's colours, which colour-blind readers tell apart; path by hue, way by lightness.
_COLORS = {
    (OFFICIAL, ENCODED): "#a04000",
    (OFFICIAL, STORED): "#e69f00",
    (JOINT, TOGETHER): "#444444",
    (OURS, ENCODED): "#56b4e9",
    (OURS, STORED): "#0072b2",
    (OURS, CACHED): "#009e73",
}
_MARKERS = {"float32": "s", "bfloat16": "o", "float16": "^"}
_SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """What a plot runs over."""

    name: str
    title: str
    values: tuple[int, ...]
    point: Callable[[float], tuple[float, float]]  # value -> (length, ratio)


def require_matplotlib() -> Any:  # noqa: ANN401
    """Returns matplotlib.

    Raises:
        MissingExtraError: It is not installed.
    """
    return import_extra("matplotlib", extra="bench", purpose="Drawing plots")


def draw_plots(report: BenchReport, folder: Path) -> list[Path]:
    """Draws both plots, each as PNG and as SVG.

    Args:
        report: What was measured.
        folder: An existing folder.

    Returns:
        The files written. A plot over a single length or ratio is drawn, too.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_matplotlib()
    longest, ratio = report.longest, report.ratio
    axes = (
        _Axis(
            name=LENGTH_PLOT,
            title=f"ratio {ratio}, by passage length in tokens",
            values=report.lengths,
            point=lambda length: (length, ratio),
        ),
        _Axis(
            name=RATIO_PLOT,
            title=f"passages of {longest} tokens, by compression ratio",
            values=report.ratios,
            point=lambda ratio: (longest, ratio),
        ),
    )
    return [path for axis in axes for path in _draw(report, axis, folder)]


def _draw(report: BenchReport, axis: _Axis, folder: Path) -> list[Path]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    # The object interface: pyplot would keep figures alive and choose a backend for the process.
    figure = Figure(figsize=_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    plot = figure.add_subplot()
    plot.set_xscale("log", base=2)
    plot.set_yscale("log")
    labels = [*_measured(report, axis, plot), *_curves(report, axis, plot)]
    settings = report.settings
    plot.set_title(
        f"{report.model.name}: milliseconds for {settings['candidates']} candidates, {axis.title}",
        loc="left",
        fontsize=11,
        fontweight="bold",
    )
    plot.set_xticks(axis.values, [str(value) for value in axis.values])
    plot.minorticks_off()
    plot.set_axisbelow(True)
    plot.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    plot.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    plot.grid(axis="y", color="#dddddd", linewidth=0.8)
    for side in ("top", "right"):
        plot.spines[side].set_visible(False)
    figure.supxlabel(_caption(report), fontsize=7.5, color="#555555", x=0.01, ha="left")
    label_lines(figure, plot, labels)
    written = []
    for kind in _FORMATS:
        path = folder / f"{axis.name}.{kind}"
        # No date and no random ids in the SVG: the same report gives the same file.
        metadata = {"Date": None} if kind == "svg" else {}
        with require_matplotlib().rc_context({"svg.hashsalt": "kalm"}):
            figure.savefig(path, dpi=_DPI, metadata=metadata)
        written.append(path)
    return written


def _measured(report: BenchReport, axis: _Axis, plot: Any) -> list[tuple[float, str, str]]:  # noqa: ANN401
    """Draws the measured points; returns (last value, label, color) of each way."""
    labels = []
    for way in report.ways:
        found = [
            (value, one)
            for value in axis.values
            if (one := report.find(way, *map(int, axis.point(value)))) is not None
        ]
        if not found:
            continue
        color = _COLORS[way.path, way.passages]
        label = f"{way.title}, {_SHORT.get(way.dtype, way.dtype)}"
        if axis.name == RATIO_PLOT and way.passages in (ENCODED, TOGETHER):
            # Measured at one ratio: hardly or not at all dependent on it.
            height = 1e3 * found[-1][1].median_s
            plot.axhline(height, color=color, linewidth=1.2, linestyle=(0, (1, 1.5)))
            labels.append((height, label, color))
            continue
        _points(plot, found, color, _MARKERS.get(way.dtype, "o"), way)
        labels.append((1e3 * found[-1][1].median_s, label, color))
    return labels


def _points(
    plot: Any,  # noqa: ANN401
    found: Sequence[tuple[int, Measurement]],
    color: str,
    marker: str,
    way: Way,
) -> None:
    values = [value for value, _ in found]
    heights = [1e3 * one.median_s for _, one in found]
    plot.plot(values, heights, color=color, linewidth=2.2 if way.path == OURS else 1.5)
    for (value, one), height in zip(found, heights, strict=True):
        plot.plot(
            value,
            height,
            marker=marker,
            markersize=7,
            color=color,
            markerfacecolor="white" if one.extrapolated else color,
            markeredgewidth=1.5,
        )


def _curves(report: BenchReport, axis: _Axis, plot: Any) -> list[tuple[float, str, str]]:  # noqa: ANN401
    """Draws what the formula says; nothing without a cross-encoder to scale it by."""
    unit_s = report.seconds_per_unit
    if unit_s is None:
        return []
    low, high = axis.values[0], axis.values[-1]
    values = [low * (high / low) ** (index / (_SAMPLES - 1)) for index in range(_SAMPLES)]
    points = [axis.point(value) for value in values]
    cost, labels = report.analytic, []
    curves = [
        ("paper's formula, stored", _COLORS[OURS, STORED], [cost.stored(n, r) for n, r in points])
    ]
    if axis.name == LENGTH_PLOT:
        joint = [cost.joint(n) for n, _ in points]
        curves.append(("paper's formula, cross-encoder", _COLORS[JOINT, TOGETHER], joint))
    for label, color, costs in curves:
        heights = [1e3 * unit_s * one for one in costs]
        plot.plot(values, heights, color=color, linewidth=1.3, linestyle=(0, (5, 3)))
        labels.append((heights[-1], label, color))
    return labels


def _caption(report: BenchReport) -> str:
    settings = report.settings
    lines = [
        describe(report.machine),
        f"On {report.device}, engine {report.engine}; batches of up to {settings['batch_size']}; "
        f"query of {settings['query_tokens']} tokens in a prompt of {report.prompt_tokens}; "
        f"median of {rounds_of(report)}.",
    ]
    if report.seconds_per_unit is None:
        lines.append("No cross-encoder was measured, so the paper's formula has no scale here.")
    else:
        lines.append(
            "Dashed: the paper's formula, scaled so that its cross-encoder "
            f"({report.model.joint_layers} layers) meets the measured one at "
            f"{report.longest} tokens."
        )
    if any(one.extrapolated for one in report.measurements):
        lines.append("Hollow: extrapolated from fewer candidates.")
    return "\n".join(lines)
