"""`kalm index`: make an index of passages, add to it, change it, look into it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kalm_reranker.cli.index_upkeep import compact, export, info, stats, verify
from kalm_reranker.cli.options import (
    DeviceOption,
    DtypeOption,
    IndexArgument,
    LongDocumentsOption,
    MaxLengthOption,
    ModelOption,
    MovedModelOption,
    RatioTextOption,
    ratio_from_text,
)
from kalm_reranker.cli.output import console, one_line, print_json
from kalm_reranker.errors import DataFileError, InvalidOptionError
from kalm_reranker.lines import numbered_lines
from kalm_reranker.options import UNSET

if TYPE_CHECKING:
    from kalm_reranker.index.report import AddReport

app = typer.Typer(
    name="index",
    help="Keep passages with their compressed states, so that each is encoded once.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_MOST_SHOWN = 20  # problems printed one by one


@app.command()
def create(
    index: IndexArgument,
    model: ModelOption = "pico",
    compression_ratio: RatioTextOption = None,
    codec: Annotated[
        str | None,
        typer.Option(
            "--codec",
            help="How states are written: float32, bf16, int8 or int4. (default: without loss)",
        ),
    ] = None,
    language: Annotated[
        str,
        typer.Option("--language", help="How BM25 reads texts: auto, english, or other."),
    ] = "auto",
    dense: Annotated[
        str | None,
        typer.Option(
            "--dense",
            metavar="MODEL",
            help="A sentence-transformers model for a dense first stage beside BM25: "
            "kalm-embedding, a hub id, or a directory.",
        ),
    ] = None,
    no_text: Annotated[
        bool,
        typer.Option("--no-text", help="Keep no texts: smaller, but without BM25."),
    ] = False,
    exist_ok: Annotated[
        bool,
        typer.Option("--exist-ok", help="An index made with the same settings is no error."),
    ] = False,
    max_length: MaxLengthOption = None,
    long_documents: LongDocumentsOption = "truncate",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
) -> None:
    """Make an empty index in a new folder.

    [dim]kalm index create my-index --model nano[/dim]
    """
    from kalm_reranker.index.passage_index import PassageIndex  # here: it imports torch

    with PassageIndex.create(
        index,
        model,
        compression_ratio=ratio_from_text(compression_ratio),
        codec=codec,
        keep_text=not no_text,
        language=language,
        dense=dense,
        exist_ok=exist_ok,
        max_length=UNSET if max_length is None else max_length,
        long_documents=long_documents,  # type: ignore[arg-type]  # checked where it is used
        device=device,
        dtype=dtype,
    ) as made:
        header = made.header
    origin = header.provenance
    limit = "cut at" if origin.window is None else "read in windows of"
    typer.echo(
        f"{index}: model {header.model}, {header.compression_ratio} tokens a state, "
        f"codec {header.codec}, passages {limit} {origin.max_length} tokens",
        err=True,
    )


@app.command()
def add(
    index: IndexArgument,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files (.jsonl, .tsv, .csv, .parquet; .gz too), directories (BEIR, or text "
            "files), other indexes, or - for standard input.",
        ),
    ],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="Where names do not tell: jsonl, beir, tsv, csv, parquet, or folder.",
        ),
    ] = "auto",
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            help="Names of the columns of a TSV or CSV file without a header, with commas; - drops "
            "one: id,-,text",
        ),
    ] = None,
    on_error: Annotated[
        str,
        typer.Option(
            "--on-error",
            help="Records that cannot be used: stop at the first, or skip, count and list them.",
        ),
    ] = "stop",
    model: MovedModelOption = None,
    device: DeviceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The counts as one JSON object.")] = False,
) -> None:
    """Add passages: encode what is new, replace what changed, skip what is there already.

    It commits every few seconds. After an interruption, the same command finishes the rest.

    [dim]kalm index add my-index corpus.jsonl more/*.csv[/dim]
    """
    if on_error not in ("stop", "skip"):
        raise InvalidOptionError(f"--on-error must be stop or skip; got {on_error!r}.")
    from kalm_reranker.index.passage_index import PassageIndex
    from kalm_reranker.index.report import AddReport

    with PassageIndex.open(index, model, device=device) as opened:
        for source in sources:
            committed = AddReport()

            def keep(report: AddReport) -> None:
                nonlocal committed
                committed = report

            try:
                report = opened.add(
                    source,
                    on_progress=keep,
                    format=format,
                    columns=None if columns is None else columns.split(","),
                    on_error="raise" if on_error == "stop" else "skip",
                )
            except DataFileError:
                typer.echo(
                    f"{source}: {committed.num_passages} passages before the error are in the "
                    "index; --on-error skip goes past it",
                    err=True,
                )
                raise
            except KeyboardInterrupt:
                typer.echo(
                    f"interrupted in {source}; the index holds {len(opened)} passages. The same "
                    "command goes on from there.",
                    err=True,
                )
                raise
            if as_json:
                print_json({"source": source} | _counts(report))
            else:
                _print_report(source, report)


@app.command()
def delete(
    index: IndexArgument,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of passages.")] = None,
    ids_from: Annotated[
        str | None, typer.Option("--ids-from", help="A file with one id a line.")
    ] = None,
    missing_ok: Annotated[
        bool, typer.Option("--missing-ok", help="Leave out ids that do not exist.")
    ] = False,
) -> None:
    """Delete passages; all of them or, where one is missing, none."""
    wanted = list(ids or [])
    if ids_from is not None:
        wanted += [line for _, line in numbered_lines(Path(ids_from))]
    if not wanted:
        raise InvalidOptionError(
            "There are no ids.", hint="Give them as arguments, or in a file with --ids-from."
        )
    from kalm_reranker.index.passage_index import PassageIndex

    with PassageIndex.open(index) as opened:
        count = opened.delete(wanted, missing_ok=missing_ok)
    typer.echo(f"deleted {count} of {len(set(wanted))}", err=True)


@app.command()
def get(
    index: IndexArgument,
    ids: Annotated[list[str], typer.Argument(help="Ids of passages.")],
) -> None:
    """Print passages as JSON lines: id, text, metadata."""
    from kalm_reranker.index.passage_index import PassageIndex

    with PassageIndex.open(index) as opened:
        for passage in opened.get_many(ids):
            text = passage.text if opened.header.keep_text else None
            print_json({"id": passage.id, "text": text, "metadata": dict(passage.metadata or {})})


@app.command(name="ids")
def list_ids(index: IndexArgument) -> None:
    """Print the ids of all passages, one a line."""
    from kalm_reranker.index.passage_index import PassageIndex

    with PassageIndex.open(index) as opened:
        for name in opened.ids():
            typer.echo(one_line(name))


for _command in (stats, info, verify, compact, export):
    app.command()(_command)


def _counts(report: "AddReport") -> dict[str, object]:
    return {
        "added": report.added,
        "replaced": report.replaced,
        "unchanged": report.unchanged,
        "metadata_updated": report.metadata_updated,
        "truncated": report.truncated,
        "split": report.split,
        "windows": report.windows,
        "problems": report.num_problems,
        "problem_list": [
            {"where": problem.where, "message": problem.error.message}
            for problem in report.problems
        ],
        "notes": report.notes,
        "num_tokens": report.num_tokens,
        "encode_s": round(report.encode_s, 3),
        "store_s": round(report.store_s, 3),
        "first_stage_s": round(report.first_stage_s, 3),
        "seconds": round(report.seconds, 3),
    }


def _print_report(source: str, report: "AddReport") -> None:
    out = console()
    encoded = report.added + report.replaced
    parts = [f"{report.added} added"]
    parts += [
        f"{count} {name}"
        for name, count in (
            ("replaced", report.replaced),
            ("unchanged", report.unchanged),
            ("with new metadata", report.metadata_updated),
            ("that cannot be used", report.num_problems),
        )
        if count
    ]
    speed = f", {encoded / report.seconds:.0f} passages/s" if encoded and report.seconds else ""
    out.print(
        f"{source}: {', '.join(parts)} in {report.seconds:.1f} s{speed}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    for note in report.notes:
        typer.echo(f"note: {note}", err=True)
    if report.truncated:
        typer.echo(
            f"note: {report.truncated} of {encoded} passages were cut at the model's length limit; "
            "longer texts are better split into several passages, or into windows by an index made "
            "with --long-documents windows",
            err=True,
        )
    if report.split:
        typer.echo(
            f"note: {report.split} of {encoded} passages are longer than the model's length limit; "
            f"they are kept as {report.windows} windows",
            err=True,
        )
    for problem in report.problems[:_MOST_SHOWN]:
        typer.echo(f"skipped: {one_line(problem.error.message)}", err=True)
    if report.num_problems > _MOST_SHOWN:
        typer.echo(
            f"skipped: {report.num_problems - _MOST_SHOWN} more (--json lists up to 1,000)",
            err=True,
        )
