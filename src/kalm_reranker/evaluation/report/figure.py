"""A plot: drawn once, then written as PNG, as SVG, and as SVG for the page."""

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kalm_reranker.evaluation.report.wording import clean
from kalm_reranker.extras import import_extra

# What inks stand for; the page gives each another value in dark mode (`inline_svg.py`).
INK, MUTED, GRID, BACK = "#1f2328", "#59616b", "#e2e5e9", "#fefefe"
# Okabe and Ito's colours, which colour-blind readers tell apart, darkened until text on white in
# them has a contrast of at least 4.5.
HUES = ("#0068a5", "#b84a00", "#007a59", "#a34d80", "#8a6500", "#22789f", "#6b4fa8")

NARROW, WIDE = 6.3, 12.8  # inches; a wide plot takes the room of two
_DPI = 144
_SALT = "kalm"  # of ids in SVG: the same evaluation gives the same bytes
_STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.facecolor": "none",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": BACK,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "savefig.facecolor": BACK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": _SALT,
}


@dataclass(kw_only=True)
class Sheet:
    """A figure to draw on, and what its parts say when pointed at.

    Attributes:
        figure: A matplotlib figure.
        tips: Id of a drawn part -> text.
    """

    figure: Any
    tips: dict[str, str] = field(default_factory=dict)

    def tip(self, artist: Any, text: str) -> None:  # noqa: ANN401
        """Gives a drawn part a text that shows when it is pointed at."""
        name = f"tip{len(self.tips)}"
        artist.set_gid(name)
        artist.set_in_layout(False)  # it lies inside its axes: nothing to make room for
        self.tips[name] = clean(text)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """What a plot shows and how it is drawn.

    Attributes:
        name: Of its files, and its id in the page.
        title: One line.
        caption: What is needed to read it.
        height: In inches.
        wide: Whether it takes a row of its own.
        draw: Draws it.
    """

    name: str
    title: str
    caption: str
    height: float
    wide: bool
    draw: Callable[[Sheet], None]


@dataclass(frozen=True, kw_only=True)
class DrawnPlot:
    """A plot's pictures.

    Attributes:
        plot: What it is.
        png: File content.
        svg: File content.
        pixels: With the caption; red, green, blue and alpha as bytes, [height, width, 4].
        tips: As in `Sheet`.
    """

    plot: Plot
    png: bytes
    svg: bytes
    pixels: Any
    tips: Mapping[str, str]


def require_matplotlib() -> Any:  # noqa: ANN401
    """Returns matplotlib.

    Raises:
        MissingExtraError: It is not installed.
    """
    return import_extra("matplotlib", extra="eval", purpose="Drawing the report's plots")


@contextmanager
def drawing() -> Iterator[None]:
    """Sets the style of all plots, for as long as it lasts.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    matplotlib = require_matplotlib()
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # whatever the user's own settings are
        matplotlib.rcParams.update(_STYLE)
        # Its own font lacks some scripts: boxes in the PNG; browsers have other fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def draw_plot(plot: Plot, *, note: str = "") -> DrawnPlot:
    """Draws a plot; inside `drawing()`.

    Args:
        plot: What to draw.
        note: Stands below the caption in the PNG, which is shown without the page around it.
    """
    sheet = new_sheet(WIDE if plot.wide else NARROW, plot.height)
    plot.draw(sheet)
    width = WIDE if plot.wide else NARROW
    pixels = stack([pixels_of(sheet), text_strip(width, [plot.caption])])
    alone = stack([pixels, text_strip(width, [note])])
    sheet.figure.set_layout_engine("none")  # it has been laid out; once is enough
    svg = io.BytesIO()
    sheet.figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return DrawnPlot(
        plot=plot, png=png_of(alone), svg=svg.getvalue(), pixels=pixels, tips=sheet.tips
    )


def png_of(pixels: Any) -> bytes:  # noqa: ANN401
    """Returns an image as a PNG file that says nothing about when or by what it was made."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    imsave(file, pixels, format="png", dpi=_DPI, metadata={"Software": None})  # type: ignore[dict-item]
    return file.getvalue()


def text_strip(width: float, lines: Sequence[str], *, size: float = 8.5) -> Any:  # noqa: ANN401
    """Returns lines of small print as pixels; long ones are wrapped, none give no height.

    Args:
        width: In inches.
        lines: From top to bottom.
        size: In points.
    """
    letters = int(72 * (width - 0.2) / (0.59 * size))
    wrapped = [part for line in lines for part in textwrap.wrap(line, letters)]
    if not wrapped:
        return stack([])
    leading = 1.4 * size / 72
    height = leading * len(wrapped) + 0.08
    sheet = new_sheet(width, height)
    for index, line in enumerate(wrapped):
        place = 1 - (0.02 + leading * index) / height
        sheet.figure.text(0.1 / width, place, line, fontsize=size, color=MUTED, va="top")
    return pixels_of(sheet)


def stack(parts: Sequence[Any]) -> Any:  # noqa: ANN401
    """Puts pixels below each other, all as wide as the widest."""
    import numpy

    width = max((one.shape[1] for one in parts), default=0)
    rows = [numpy.zeros((0, width, 4), dtype=numpy.uint8)]
    for one in parts:
        row = blank(one.shape[0], width)
        row[:, : one.shape[1]] = one
        rows.append(row)
    return numpy.concatenate(rows)


def blank(height: int, width: int) -> Any:  # noqa: ANN401
    """Returns empty paper."""
    import numpy

    ink = [int(BACK[at : at + 2], 16) for at in (1, 3, 5)]
    return numpy.full((height, width, 4), [*ink, 255], dtype=numpy.uint8)


def new_sheet(width: float, height: float) -> Sheet:
    """Returns an empty figure of this size in inches; inside `drawing()`."""
    # The object interface: pyplot would keep figures alive and choose a backend for the process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=_DPI)
    FigureCanvasAgg(figure)
    return Sheet(figure=figure)


def pixels_of(sheet: Sheet) -> Any:  # noqa: ANN401
    """Returns a figure as bytes, [height, width, 4]."""
    import numpy

    sheet.figure.canvas.draw()
    return numpy.asarray(sheet.figure.canvas.buffer_rgba()).copy()
