"""`kalm compare`: two runs against the same judgements."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kalm_reranker.cli.output import console, print_json
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.evaluation.measures.comparing import ComparedMeasure, ComparedRuns, compare_runs
from kalm_reranker.evaluation.measures.load_qrels import load_qrels
from kalm_reranker.evaluation.measures.metrics import MEASURES, display_name
from kalm_reranker.evaluation.measures.significance import TESTS
from kalm_reranker.evaluation.results import Comparison
from kalm_reranker.search.run_files import read_trec_run

_NAMES = ("A", "B")
_NO_VALUE = "-"
_LEAST_WIDTH = 80


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="The baseline: a TREC run.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="The run to compare with it.")],
    qrels: Annotated[
        Path,
        typer.Option(
            "--qrels",
            "-q",
            metavar="PATH",
            help="Judgements: a file of three columns (BEIR) or four (TREC), or a BEIR directory.",
        ),
    ],
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure",
            metavar="NAME",
            help=f"{', '.join(map(display_name, MEASURES))}; may be repeated. (default: all)",
        ),
    ] = None,
    test: Annotated[str, typer.Option("--test", help=f"{' or '.join(TESTS)}.")] = TESTS[0],
    split: Annotated[
        str, typer.Option("--split", help="Which judgements of a BEIR directory.")
    ] = "test",
    resamples: Annotated[
        int, typer.Option("--resamples", min=1, help="Draws of the bootstrap.")
    ] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Compare two TREC runs: every measure of both, and whether the difference is more than chance.

    [dim]kalm compare bm25.trec reranked.trec --qrels data/scifact[/dim]

    [dim]kalm compare a.trec.gz b.trec.gz --qrels qrels.txt --measure nDCG@10 --test bootstrap[/dim]
    """
    measures = [_measure(name) for name in measure or MEASURES]
    if test not in TESTS:
        raise InvalidOptionError(f"--test must be one of {', '.join(TESTS)}; got {test!r}.")
    loaded = load_qrels(qrels, split=split)
    compared = compare_runs(
        read_trec_run(run_a),
        read_trec_run(run_b),
        loaded.qrels,
        baseline_name=_NAMES[0],
        run_name=_NAMES[1],
        dataset=str(qrels),
        measures=list(dict.fromkeys(measures)),
        test=test,
        resamples=resamples,
        seed=seed,
    )
    notes = list(compared.notes)
    if loaded.num_dropped_queries:
        count = loaded.num_dropped_queries
        subject = "1 query has" if count == 1 else f"{count} queries have"
        left_out = "is" if count == 1 else "are"
        notes.insert(0, f"{subject} judgements, but none above 0, and {left_out} left out.")
    if as_json:
        print_json(
            {
                "baseline": str(run_a),
                "run": str(run_b),
                "qrels": str(loaded.path),
                "num_queries": compared.num_queries,
                "measures": [_as_dict(one) for one in compared.measures],
                "notes": notes,
            }
        )
        return
    _print(compared, console(), runs=(run_a, run_b), qrels=loaded.path)
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def _measure(name: str) -> str:
    """Returns a measure's own name for that or for what tables call it, in any case."""
    for measure in MEASURES:
        if name.lower() in (measure.lower(), display_name(measure).lower()):
            return measure
    allowed = ", ".join(map(display_name, MEASURES))
    raise InvalidOptionError(f"--measure must be one of {allowed}; got {name!r}.")


def _as_dict(one: ComparedMeasure) -> dict[str, object]:
    tested = {} if one.comparison is None else asdict(one.comparison)
    for told_once in ("dataset", "ranker", "baseline", "measure", "num_queries"):
        tested.pop(told_once, None)
    difference = None
    if one.value is not None and one.baseline is not None:
        difference = one.value - one.baseline
    return {
        "measure": one.measure,
        "baseline": one.baseline,
        "value": one.value,
        "difference": difference,
        "comparison": tested or None,
    }


def _print(compared: ComparedRuns, out: Console, *, runs: tuple[Path, Path], qrels: Path) -> None:
    # On a narrower terminal lines wrap; cut numbers would be worse.
    out.width = max(out.width, _LEAST_WIDTH)
    for name, path in zip(_NAMES, runs, strict=True):
        out.print(Text(f"{name}: {path}"))
    out.print(Text(f"{compared.num_queries} judged queries: {qrels}"))
    out.print()
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in (*_NAMES, "B - A", "95% interval", "p", "better", "same", "worse"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in compared.measures:
        table.add_row(*_row(one))
    out.print(table)
    tests = dict.fromkeys(one.comparison.test for one in compared.measures if one.comparison)
    if tests:
        out.print()
        told = f"Test: {'; '.join(tests)}. p is two-sided, of each measure by itself."
        out.print(Text(told, style="dim"))


def _row(one: ComparedMeasure) -> list[str]:
    row = [display_name(one.measure), _value(one.baseline), _value(one.value)]
    if one.value is None or one.baseline is None:
        row.append(_NO_VALUE)
    else:
        row.append(_signed(one.value - one.baseline))
    return row + (_tested(one.comparison) if one.comparison else [_NO_VALUE] * 5)


def _tested(found: Comparison) -> list[str]:
    return [
        f"{_signed(found.low)} {_signed(found.high)}",
        "<0.0001" if found.p_value < 0.0001 else f"{found.p_value:.4f}",
        str(found.wins),
        str(found.num_queries - found.wins - found.losses),
        str(found.losses),
    ]


def _value(value: float | None) -> str:
    return _NO_VALUE if value is None else f"{value:.4f}"


def _signed(value: float) -> str:
    text = f"{value:+.4f}"
    return "0.0000" if float(text) == 0 else text
