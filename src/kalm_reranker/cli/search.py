"""`kalm search`: answer a query, or a file of queries, from an index."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kalm_reranker.cli.options import (
    CalibrationOption,
    DeviceOption,
    DtypeOption,
    EngineOption,
    IndexArgument,
    MinScoreOption,
    MovedModelOption,
    QuantizationOption,
    check_min_score,
    ratio_from_text,
    report_left_out,
)
from kalm_reranker.cli.output import one_line, print_json, print_table
from kalm_reranker.cli.search_options import cascade_from_text, filter_from_texts
from kalm_reranker.errors import InputError, InvalidOptionError

if TYPE_CHECKING:
    from kalm_reranker.search.results import SearchResults


def search(
    index: IndexArgument,
    query: Annotated[str | None, typer.Argument(help="The query.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Results wanted.")] = 10,
    candidates: Annotated[
        int | None,
        typer.Option(
            "--candidates",
            "-n",
            min=1,
            help="Passages the reranker scores, at least --top-k. (default: 100)",
        ),
    ] = None,
    instruction: Annotated[
        str | None,
        typer.Option(
            "--instruction", "-i", help="Task instruction. (default: the checkpoint's own)"
        ),
    ] = None,
    first_stage: Annotated[
        str | None,
        typer.Option(
            "--first-stage", help="bm25, dense or hybrid. (default: all that the index has)"
        ),
    ] = None,
    compression_ratio: Annotated[
        str | None,
        typer.Option(
            "--compression-ratio",
            "-r",
            metavar="N",
            help="Score all candidates once, at this multiple of the index's ratio. (default: "
            "the index's own, or a cascade)",
        ),
    ] = None,
    cascade: Annotated[
        str | None,
        typer.Option(
            "--cascade",
            metavar="SPEC",
            help="32:20 scores all candidates at ratio 32 and the best 20 at the index's own; "
            "32:4:20 those at 4; none is one pass. (default: the checkpoint's own)",
        ),
    ] = None,
    fuse: Annotated[
        bool | None,
        typer.Option(
            "--fuse/--no-fuse",
            help="Order by margin and first-stage score together. (default: as the checkpoint "
            "wants)",
        ),
    ] = None,
    conditions: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="FIELD=VALUE",
            help="Only passages whose metadata match: lang=en, year>=2020, tag!=old, "
            "tag=a,b (either). May be repeated.",
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries", help="A file of queries instead of one: .jsonl (_id, text) or .tsv."
        ),
    ] = None,
    rerank: Annotated[
        Path | None,
        typer.Option(
            "--rerank",
            metavar="RUN",
            help="Rank these candidates instead of the first stage's: a TREC run beside "
            "--queries, or .jsonl lines of query_id, query, candidates.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to write the results of a file of queries. (default: stdout)",
        ),
    ] = None,
    trec: Annotated[
        bool,
        typer.Option(
            "--trec",
            help="Write a TREC run instead of JSON lines. Its scores count down from the number "
            "of results: margins of two ratios have no common scale.",
        ),
    ] = False,
    calibration: CalibrationOption = None,
    min_score: MinScoreOption = None,
    margin: Annotated[
        bool, typer.Option("--margin", help="In the table: yes logit - no logit beside the score.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per result; so it is with --queries.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what each stage did and how long it took.")
    ] = False,
    model: MovedModelOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    engine: EngineOption = "auto",
    quantization: QuantizationOption = None,
) -> None:
    """Find the passages that answer QUERY.

    [dim]kalm search my-index "capital of China?"[/dim]

    [dim]kalm search my-index --queries queries.jsonl --trec -o run.trec[/dim]
    """
    if (query is None) == (queries is None and rerank is None):
        raise InputError(
            "Give either one query or a file of queries.",
            hint='kalm search INDEX "a query", or kalm search INDEX --queries FILE.',
        )
    if query is not None and (trec or output is not None):
        raise InvalidOptionError(
            "--trec and --output are for a file of queries.",
            hint="Give the query in a file with --queries, or redirect what --json prints.",
        )
    if query is None and explain:
        raise InvalidOptionError(
            "--explain is for one query.", hint="Give one as text, in place of a file."
        )
    smallest = check_min_score(min_score)
    settings: dict[str, Any] = {
        "top_k": top_k,
        "instruction": instruction,
        "compression_ratio": ratio_from_text(compression_ratio),
        "cascade": cascade_from_text(cascade),
        "fuse": fuse,
    }
    if rerank is not None and (conditions or first_stage or candidates):
        raise InvalidOptionError(
            "--filter, --first-stage and --candidates choose candidates; --rerank brings them.",
            hint="Leave one of them out.",
        )
    first: dict[str, Any] = {
        "candidates": 100 if candidates is None else candidates,
        "first_stage": first_stage,
        "filter": filter_from_texts(conditions or []),
    }

    from kalm_reranker.index.passage_index import PassageIndex  # here: it imports torch

    with PassageIndex.open(
        index,
        model,
        device=device,
        dtype=dtype,
        engine=engine,  # type: ignore[arg-type]  # checked where it is used
        quantization=quantization,  # type: ignore[arg-type]
        calibration=calibration,
        # One query uses nothing again.
        prefix_cache_bytes=None if query is None else 0,
    ) as opened:
        if query is not None:
            found = opened.search(query, **settings, **first)
            results = found.at_least(smallest)
            _show(results, as_json=as_json, with_margin=margin, explain=explain)
            report_left_out(len(found) - len(results), len(found), smallest)
            return
        from kalm_reranker.cli.search_batch import search_all

        search_all(
            opened,
            queries,
            rerank,
            settings=settings,
            first_stage=first,
            output=output,
            trec=trec,
            min_score=smallest,
        )


def _show(results: "SearchResults", *, as_json: bool, with_margin: bool, explain: bool) -> None:
    if as_json:
        for result in results:
            print_json(result.as_dict())
        if explain:
            _explain(results, err=True)
    else:
        if results.results:
            print_table(results, with_margin=with_margin)
        if any(result.blended is not None for result in results):
            typer.echo(
                "ordered by score and first stage together (--no-fuse: by score alone)", err=True
            )
        if explain:
            _explain(results, err=False)
    for line in results.damaged:
        typer.echo(f"damaged, left out: {one_line(line)}", err=True)
    for note in results.notes:
        typer.echo(f"note: {note}", err=True)
    if not results.results and not results.num_candidates:
        typer.echo("no passage was found", err=True)


def _explain(results: "SearchResults", *, err: bool) -> None:
    typer.echo("", err=err)
    for stage in results.stages:
        counts = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in stage.counts.items())
        typer.echo(f"{stage.seconds * 1e3:9.1f} ms  {stage.name:18} {counts}", err=err)
    typer.echo(f"{results.seconds * 1e3:9.1f} ms  together", err=err)
