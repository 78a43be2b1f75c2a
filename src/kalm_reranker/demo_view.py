"""Shows a `DemoReport` on a console."""

from textwrap import shorten

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from kalm_reranker.demo_report import (
    BLEND,
    BM25,
    RANKERS,
    RERANKER,
    DemoExample,
    DemoReport,
    DemoResult,
)

_BAR_WIDTH = 30  # characters for an nDCG@10 of 1
_TITLE_WIDTH = 72  # characters of a title: at most four lines of a column on 80 columns


def render_demo(report: DemoReport, console: Console) -> None:
    """Prints quality, times and example queries.

    Made for 80 columns and more. Relevant results carry a mark, not only a colour; on a console
    that cannot show Unicode, marks and bars are ASCII.
    """
    names = {BM25: "BM25", RERANKER: report.model, BLEND: f"BM25 + {report.model}"}
    console.print(
        f"[bold]{report.num_queries} claims, {report.num_passages} abstracts[/] "
        f"({escape(report.collection)}), {report.top_k} BM25 candidates a claim"
    )
    console.print(
        f"{escape(report.model)} in {report.dtype} on {report.device}, "
        f"{report.compression_ratio} tokens a stored state"
    )
    console.print()
    console.print(_quality_table(report, names, console))
    console.print()
    console.print(Text(_verdict(report)))
    console.print()
    console.print(_times_table(report))
    console.print()
    console.print(Text(_states_notice(report)))
    for example in report.examples:
        console.print()
        _print_example(example, names, console)


def _quality_table(report: DemoReport, names: dict[str, str], console: Console) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("ranking")
    table.add_column("nDCG@10", justify="right")
    table.add_column("vs BM25", justify="right")
    table.add_column("")
    block = _symbol(console, "█", "#")
    best = max(report.ndcg_at_10.values())
    for ranker in RANKERS:
        value = report.ndcg_at_10[ranker]
        gain = value - report.ndcg_at_10[BM25]
        table.add_row(
            escape(names[ranker]),
            f"{value:.3f}",
            "" if ranker == BM25 else f"{gain:+.3f}",
            block * round(_BAR_WIDTH * value),
            style="bold" if value == best else "",
        )
    return table


def _verdict(report: DemoReport) -> str:
    """Returns what the numbers say, whichever way they fall."""
    alone, blended = (
        _relation(report.ndcg_at_10[ranker], report.ndcg_at_10[BM25])
        for ranker in (RERANKER, BLEND)
    )
    verdict = (
        f"Alone, {report.model} ranks {alone} BM25 here; the blend, the sum of both z-scores, "
        f"ranks {blended} it."
    )
    if report.model == "pico":
        verdict += " pico is a small demonstration model; nano, small and large are the real ones."
    return verdict


def _relation(value: float, reference: float) -> str:
    if value == reference:
        return "level with"
    return "above" if value > reference else "below"


def _times_table(report: DemoReport) -> Table:
    times = report.times
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("what")
    table.add_column("when")
    table.add_column("time", justify="right")
    table.add_column("")
    table.add_row("load the model", "once", _seconds(times.load_model_s), "")
    each = f"{_seconds(times.encode_s / report.num_encoded)} each" if report.num_encoded else ""
    table.add_row(f"encode {report.num_encoded} abstracts", "once", _seconds(times.encode_s), each)
    table.add_row("store them", "once", _seconds(times.store_s), "")
    table.add_row("build BM25", "once", _seconds(times.first_stage_s), "")
    table.add_row("first query", "states from disk", _seconds(times.first_query_s), "")
    table.add_row("the same again", "states in memory", _seconds(times.second_query_s), "")
    table.add_row("other queries", "median", _seconds(times.other_query_s), "")
    table.add_row(
        "without the index",
        "every query",
        _seconds(times.without_index_s),
        f"{times.without_index_s / times.second_query_s:.0f} times the second query",
    )
    return table


def _states_notice(report: DemoReport) -> str:
    each_kb = report.index_bytes / max(1, report.num_passages) / 1000
    return (
        f"The index takes {report.index_bytes / 1e6:.0f} MB in {report.codec}, {each_kb:.0f} kB an "
        f"abstract, text included. Cut to fit the model: {report.num_truncated} abstracts at "
        f"{report.max_length} tokens; {report.num_queries_truncated} times a claim was."
    )


def _print_example(example: DemoExample, names: dict[str, str], console: Console) -> None:
    console.print(Text("Claim: ", style="bold").append(example.query, style="not bold"))
    one = "1 abstract is" if example.num_relevant == 1 else f"{example.num_relevant} abstracts are"
    console.print(Text(f"Shown because it is {example.reason}; {one} relevant.", style="dim"))
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, expand=True)
    table.add_column("", width=1)
    for ranker in RANKERS:
        table.add_column(
            f"{escape(names[ranker])} ({example.ndcg[ranker]:.2f})", ratio=1, overflow="fold"
        )
    longest = max(len(results) for results in example.top.values())
    for rank in range(longest):
        cells = [_cell(example.top[ranker], rank, console) for ranker in RANKERS]
        table.add_row(str(rank + 1), *cells)
    console.print(table)


def _cell(results: tuple[DemoResult, ...], rank: int, console: Console) -> Text:
    if rank >= len(results):
        return Text("")
    result = results[rank]
    title = shorten(result.title or result.passage_id, _TITLE_WIDTH, placeholder="...")
    if not result.relevant:
        return Text(title)
    return Text(f"{_symbol(console, '✓', '*')} {title}", style="bold green")


def _symbol(console: Console, unicode: str, ascii_form: str) -> str:
    try:
        unicode.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return ascii_form
    return unicode


def _seconds(seconds: float) -> str:
    """Returns a duration with three digits and the unit that suits it."""
    if seconds >= 100:
        return f"{seconds:.0f} s"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    if seconds >= 0.1:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds * 1e3:.2g} ms" if seconds < 0.01 else f"{seconds * 1e3:.1f} ms"
