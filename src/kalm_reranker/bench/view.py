"""Shows a `BenchReport` on a console: tables that fit 80 columns."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kalm_reranker.bench.report import (
    ENCODED,
    STORED,
    TOGETHER,
    BenchReport,
    Measurement,
    Way,
)
from kalm_reranker.bench.settings import OURS
from kalm_reranker.machine import describe

_MARK = "~"  # before what is extrapolated
_SHOWN_IN_SECONDS = 10.0  # from here on milliseconds have more digits than a table has room for
_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}

Cell = Callable[[Way], str]


def render_bench(report: BenchReport, console: Console) -> None:
    """Prints what was measured, the ratios, and what they are compared with."""
    model, settings = report.model, report.settings
    weights = ", random weights" if model.random_weights else ""
    total = model.encoder_parameters + model.decoder_parameters + model.embedding_parameters
    _line(
        console,
        f"{model.name}{weights}: {model.layers}+{model.layers} layers of width {model.width}, "
        f"{total / 1e6:,.0f} M parameters, on {report.device}",
        style="bold",
    )
    _line(console, describe(report.machine))
    _line(
        console,
        f"{settings['candidates']} candidates for one query of {settings['query_tokens']} tokens "
        f"(prompt: {report.prompt_tokens}), batches of up to {settings['batch_size']}, "
        f"median of {rounds_of(report)}; our engine: {report.engine}",
    )
    if report.interrupted:
        _line(console, "Interrupted: this is what was measured until then.", style="bold")
    unit = _Unit.of(report)
    _lengths(report, console, unit)
    _comparison(report, console, unit)
    _speedups(report, console)
    _ratios(report, console, unit)
    _footnotes(report, console)


def rounds_of(report: BenchReport) -> str:
    """Returns how many rounds counted, as text: fewer than asked for where time ran out."""
    counts = sorted({len(one.seconds) for one in report.measurements})
    return f"{'-'.join(map(str, counts))} round{'s' * (counts != [1])}"


class _Unit(NamedTuple):
    """What times are shown in, the same in all tables of a report."""

    name: str
    per_second: float

    @classmethod
    def of(cls, report: BenchReport) -> "_Unit":
        longest = max((one.median_s for one in report.measurements), default=0.0)
        return cls("Seconds", 1.0) if longest >= _SHOWN_IN_SECONDS else cls("Milliseconds", 1e3)

    def show(self, one: Measurement | None, *, best: bool = False) -> str:
        if one is None:
            return "-"
        return _marked(one, _digits(self.per_second * (one.best_s if best else one.median_s)))


def _lengths(report: BenchReport, console: Console, unit: _Unit) -> None:
    columns: list[tuple[str, Cell]] = [
        (f"n={n}", lambda way, n=n: unit.show(report.find(way, n, report.ratio)))  # type: ignore[misc]
        for n in report.lengths
    ]
    title = f"{unit.name} by passage length n, ratio {report.ratio}"
    _table(console, title, report.ways, columns)


def _comparison(report: BenchReport, console: Console, unit: _Unit) -> None:
    def found(way: Way) -> Measurement | None:
        return report.find(way, report.longest, report.ratio)

    columns: list[tuple[str, Cell]] = [
        ("median", lambda way: unit.show(found(way))),
        ("best", lambda way: unit.show(found(way), best=True)),
        ("pairs/s", lambda way: _rate(found(way))),
    ]
    title = f"{unit.name} at n={report.longest}, ratio {report.ratio}"
    if report.memory:
        columns.append(("peak", lambda way: _peak(report, way)))
        title += ", and peak memory"
    _table(console, title, report.ways, columns)


def _ratios(report: BenchReport, console: Console, unit: _Unit) -> None:
    ways = [way for way in report.ways if way.passages not in (ENCODED, TOGETHER)]
    if not ways or len(report.ratios) < 2:
        return
    columns: list[tuple[str, Cell]] = [
        (f"r={r}", lambda way, r=r: unit.show(report.find(way, report.longest, r)))  # type: ignore[misc]
        for r in report.ratios
    ]
    _table(console, f"{unit.name} by ratio r, n={report.longest}", ways, columns)


def _table(
    console: Console, title: str, ways: Sequence[Way], columns: Sequence[tuple[str, Cell]]
) -> None:
    console.print()
    _line(console, title, style="bold")
    table = _new_table()
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for way in ways:
        cells = [cell(way) for _, cell in columns]
        table.add_row(
            way.title,
            _dtype(way),
            *cells,
            style="bold" if way.path == OURS else "",
        )
    console.print(table)


def _speedups(report: BenchReport, console: Console) -> None:
    """Sets our ways against the others, and what the paper's formula says beside them."""

    def median_s(way: Way) -> float | None:
        one = report.find(way, report.longest, report.ratio)
        return one.median_s if one else None

    rivals = [way for way in report.ways if way.path != OURS and median_s(way)]
    ours = [way for way in report.ways if way.path == OURS and median_s(way)]
    if not rivals or not ours:
        return
    console.print()
    _line(
        console,
        f"How many times faster than ..., at n={report.longest}, ratio {report.ratio}",
        style="bold",
    )
    table = _new_table()
    for way in rivals:
        name = {ENCODED: "official\nencoding", STORED: "official\ngiven"}.get(
            way.passages, f"joint\n{report.model.joint_layers} layers"
        )
        table.add_column(f"{name}\n{_dtype(way)}", justify="right", no_wrap=True)
    for way in ours:
        mine = median_s(way)
        cells = [_times(median_s(rival), mine) for rival in rivals]
        table.add_row(way.title, _dtype(way), *cells, style="bold")
    formula = report.analytic.speedup(report.longest, report.ratio)
    table.add_row(
        "the paper's formula",
        "",
        *(f"{formula:.1f}x" if way.passages == TOGETHER else "" for way in rivals),
    )
    console.print(table)


def _times(theirs: float | None, ours: float | None) -> str:
    return f"{theirs / ours:.1f}x" if theirs and ours else "-"


def _footnotes(report: BenchReport, console: Console) -> None:
    cut = [one for one in report.measurements if one.extrapolated]
    lines = []
    if cut:
        lines.append(f"{_MARK} extrapolated, since time was limited (--limit):")
        for way in report.ways:
            points = [
                f"n={one.length}"
                + (f" r={one.ratio}" if one.ratio not in (None, report.ratio) else "")
                + f" from {one.measured}"
                for one in cut
                if one.way == way
            ]
            if points:
                lines.append(f"  {way.title} in {way.dtype}: {', '.join(points)}")
    if report.memory:
        count = report.memory[0].candidates
        lines.append(
            "Peak memory is that of a process of its own, libraries included, scoring "
            f"{count} candidate{'s' * (count != 1)}."
        )
    if report.margin_difference is not None:
        lines.append(
            f"Margins of our path and the official one in {report.ways[-1].dtype} differ by at "
            f"most {report.margin_difference:.2g} here."
        )
    if report.load_before is not None and report.load_before >= 0.5:
        lines.append(
            f"Load average before the start: {report.load_before}; others were at work here, so "
            "ratios say more than milliseconds."
        )
    lines += report.notes
    if lines:
        console.print()
    for line in lines:
        _line(console, line, style="dim")


def _new_table() -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("dtype", no_wrap=True)
    return table


def _dtype(way: Way) -> str:
    return _DTYPES.get(way.dtype, way.dtype)


def _rate(one: Measurement | None) -> str:
    return "-" if one is None else _marked(one, _digits(one.candidates / one.median_s))


def _marked(one: Measurement, text: str) -> str:
    return f"{_MARK}{text}" if one.extrapolated else text


def _digits(value: float) -> str:
    """Three digits, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _peak(report: BenchReport, way: Way) -> str:
    for one in report.memory:
        if one.way == way:
            num_bytes = one.host_bytes if one.device_bytes is None else one.device_bytes
            return "-" if num_bytes is None else f"{num_bytes / 1e6:,.0f} MB"
    return "-"


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style))
