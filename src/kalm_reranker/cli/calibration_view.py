"""Shows a `CalibrationReport` on a console: tables that fit 80 columns."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # importing it costs numpy
    from kalm_reranker.calibration import Calibration, CalibrationQuality, Threshold
    from kalm_reranker.evaluation.calibration.calibrating import CalibrationReport


def render_calibration(report: "CalibrationReport", notes: Sequence[str], console: Console) -> None:
    """Prints the fit, its quality before and after, thresholds, and how scores lie.

    Args:
        report: What was fitted.
        notes: What is to be known of the pairs.
        console: Where to print.
    """
    found = report.calibration
    _line(console, _heading(found), style="bold")
    data = found.data
    _line(
        console,
        f"{data.num_pairs:,} pairs of {data.num_queries:,} queries, {data.num_positives:,} "
        f"relevant ({data.base_rate:.1%})",
    )
    _line(
        console,
        f"{found.method}: score = sigmoid({found.slope:.4g} * margin"
        f"{f' {found.intercept:+.4g}' if found.intercept else ''})",
    )
    _quality(report, console)
    _thresholds(found.thresholds, console)
    _reliability(report, console)
    console.print()
    for note in [*notes, *report.notes]:
        _line(console, f"- {note}", style="dim")


def _heading(calibration: "Calibration") -> str:
    origin = calibration.origin
    if origin.model is None:
        return "margins of an unnamed model"
    return f"{origin.model}, ratio {origin.compression_ratio}, {origin.dtype}"


def _quality(report: "CalibrationReport", console: Console) -> None:
    found = report.calibration
    table = _new_table("How far scores are from the labels (lower is better)")
    for name in ("", "log loss", "Brier", "ECE"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    rows: list[tuple[str, CalibrationQuality | None]] = [
        ("raw score", found.raw),
        ("calibrated, same pairs", found.fitted),
        (f"calibrated, held out ({report.num_folds} folds of queries)", found.held_out),
    ]
    for name, one in rows:
        if one is not None:
            table.add_row(name, f"{one.log_loss:.4f}", f"{one.brier:.4f}", f"{one.ece:.4f}")
    console.print()
    console.print(table)


def _thresholds(thresholds: "Sequence[Threshold]", console: Console) -> None:
    table = _new_table("Thresholds: take a pair if its calibrated score is at least ...")
    for name in ("wanted", "score", "margin", "precision", "95% low", "recall", "pairs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("held out", justify="right", no_wrap=True)
    for one in thresholds:
        held_out = "-" if one.held_out_recall is None else "none taken"
        if one.held_out_precision is not None:
            held_out = f"{one.held_out_precision:.3f} / {one.held_out_recall:.3f}"
        table.add_row(
            f"{one.wanted_precision:g}" if one.reached else f"{one.wanted_precision:g} *",
            _score(one.score),
            f"{one.margin:+.3f}",
            f"{one.precision:.3f}",
            f"{one.precision_low:.3f}",
            f"{one.recall:.3f}",
            f"{one.num_taken:,}",
            held_out,
        )
    console.print()
    console.print(table)
    if not all(one.reached for one in thresholds):
        _line(console, "* no threshold reaches it; the row is the best there is", style="dim")
    _line(
        console,
        "held out: precision / recall, each query at the threshold of the others",
        style="dim",
    )


def _reliability(report: "CalibrationReport", console: Console) -> None:
    table = _new_table("Mean score against share of relevant pairs, by score")
    table.add_column("score", no_wrap=True)
    for side in ("raw", "calibrated"):
        for name in ("pairs", "mean", "relevant"):
            table.add_column(f"{side}\n{name}", justify="right", no_wrap=True)
    for raw, after in zip(report.reliability_raw, report.reliability, strict=True):
        cells = [f"{raw.low:.1f}-{raw.high:.1f}"]
        for one in (raw, after):
            shown = [
                "" if value is None else f"{value:.3f}" for value in (one.mean_score, one.relevant)
            ]
            cells += [f"{one.num_pairs:,}", *shown]
        table.add_row(*cells)
    console.print()
    console.print(table)


def _score(score: float) -> str:
    """Four digits, ten close to 1; rounded down, so that the pair it comes from is still taken."""
    digits = 4 if score < 0.9999 else 10
    return f"{math.floor(score * 10**digits) / 10**digits:.{digits}f}"


def _new_table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style))
