"""`kalm index info | stats | verify | compact | export`: what is in an index, and is it sound."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from kalm_reranker.cli.options import IndexArgument
from kalm_reranker.cli.output import console, one_line, print_json
from kalm_reranker.errors import DamagedStoreError
from kalm_reranker.store.sqlite_store import SQLiteStore

if TYPE_CHECKING:
    from kalm_reranker.index.passage_index import PassageIndex

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object.")]

_MOST_SHOWN = 20


def info(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Show what an index is: model, ratio, codec, and what else was fixed when it was made."""
    store = SQLiteStore.open(index)
    header = asdict(store.header)
    provenance = header.pop("provenance")
    dense = header.pop("dense")
    flat = {**header, **provenance}
    if dense is not None:
        flat |= {f"dense_{name}": value for name, value in dense.items()}
    flat["num_passages"] = store.num_passages()
    store.close()
    if as_json:
        print_json(flat)
    else:
        _print_pairs(
            {name.replace("_", " "): "-" if v is None else str(v) for name, v in flat.items()}
        )


def stats(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Show how much is in an index: passages, tokens, bytes."""
    store = SQLiteStore.open(index)
    counts = store.counts()
    store.close()
    if as_json:
        print_json(asdict(counts))
        return
    passages = max(1, counts.num_passages)
    _print_pairs(
        {
            "passages": f"{counts.num_passages:,}",
            "truncated": f"{counts.num_truncated:,}",
            "tokens": f"{counts.num_tokens:,} ({counts.num_tokens / passages:.0f} a passage)",
            "store": f"{counts.file_bytes / 1e6:,.1f} MB "
            f"({counts.file_bytes / passages / 1e3:.1f} kB a passage)",
            "free": f"{counts.free_bytes / 1e6:,.1f} MB of it, for later passages or `compact`",
            "changes": f"{counts.last_change:,} since it was made",
        }
    )


def verify(
    index: IndexArgument,
    drop_damaged: Annotated[
        bool,
        typer.Option(
            "--drop-damaged",
            help="Delete damaged records, so that adding them again encodes them.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read every record and check it. Ends with status 1 if something is damaged."""
    from kalm_reranker.index.passage_index import PassageIndex
    from kalm_reranker.progress import progress_bar

    with PassageIndex.open(index) as opened:
        with progress_bar(_size(opened), label="verify", unit="passages", show=None) as on_progress:
            report = opened.verify(on_progress)
        if as_json:
            print_json(asdict(report) | {"ok": report.ok})
        else:
            typer.echo(
                f"{report.num_passages:,} passages, {report.num_bytes / 1e6:,.1f} MB of states "
                f"read in {report.seconds:.1f} s: {'all as written' if report.ok else 'DAMAGED'}"
            )
            problems = [*report.structure, *map(str, report.damaged)]
            for problem in problems[:_MOST_SHOWN]:
                typer.echo(f"damaged: {one_line(problem)}", err=True)
            if len(problems) > _MOST_SHOWN:
                typer.echo(f"damaged: {len(problems) - _MOST_SHOWN} more (see --json)", err=True)
        if drop_damaged and report.damaged:
            count = opened.drop_damaged()
            again = "; add them again from where they came from" if count else "; counted anew"
            typer.echo(f"dropped {count} passages{again}", err=True)
    if not report.ok:
        raise typer.Exit(1)


def compact(index: IndexArgument) -> None:
    """Give the space of deleted and replaced passages back to the file system."""
    from kalm_reranker.index.passage_index import PassageIndex

    with PassageIndex.open(index) as opened:
        before = opened.stats().store.file_bytes
        opened.compact()
        after = opened.stats().store.file_bytes
    typer.echo(f"{before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now", err=True)


def export(
    index: IndexArgument,
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
) -> None:
    """Write everything as safetensors (states) and JSON lines (texts), for other software."""
    from kalm_reranker.index.passage_index import PassageIndex

    with PassageIndex.open(index) as opened:
        report = opened.export(folder)
    typer.echo(
        f"{report.num_passages:,} passages in {report.num_shards} shards, "
        f"{report.num_bytes / 1e6:,.1f} MB, in {report.folder}",
        err=True,
    )


def _size(index: "PassageIndex") -> int:
    try:
        return len(index)
    except DamagedStoreError:  # the counters, too, may be damaged: verify is to say so
        return 0


def _print_pairs(pairs: dict[str, str]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in pairs.items():
        table.add_row(name, value)
    console().print(table, markup=False, highlight=False)
