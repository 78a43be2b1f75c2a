"""`kalm rerank`: order passages given as arguments or in a file."""

from typing import TYPE_CHECKING, Annotated

import typer

from kalm_reranker.cli.options import (
    CalibrationOption,
    DeviceOption,
    DtypeOption,
    EngineOption,
    LongDocumentsOption,
    MaxLengthOption,
    MinScoreOption,
    ModelOption,
    QuantizationOption,
    RatioTextOption,
    check_min_score,
    ratio_from_text,
    report_left_out,
)
from kalm_reranker.cli.output import RankedRow, print_json_lines, print_table
from kalm_reranker.cli.passage_files import Passage, read_passages
from kalm_reranker.errors import InputError
from kalm_reranker.options import UNSET

if TYPE_CHECKING:
    from kalm_reranker.engine.pipeline import PipelineOptions
    from kalm_reranker.stats import RerankerStats


def rerank(
    query: Annotated[str, typer.Argument(help="The query.")],
    documents: Annotated[
        list[str] | None, typer.Argument(help="Passages; more can come from --file.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            help="Passages: .jsonl with text, title, id; other files one passage per line; "
            "- for standard input.",
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", "-k", help="Show only the best. (default: all)")
    ] = None,
    instruction: Annotated[
        str | None,
        typer.Option(
            "--instruction", "-i", help="Task instruction. (default: the checkpoint's own)"
        ),
    ] = None,
    model: ModelOption = "pico",
    compression_ratio: RatioTextOption = None,
    calibration: CalibrationOption = None,
    min_score: MinScoreOption = None,
    margin: Annotated[
        bool, typer.Option("--margin", help="Show yes logit - no logit beside the score.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    max_length: MaxLengthOption = None,
    long_documents: LongDocumentsOption = "truncate",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    engine: EngineOption = "auto",
    quantization: QuantizationOption = None,
    plain_text: Annotated[
        bool,
        typer.Option(
            "--plain-text",
            help="Read special-token text in queries and passages as plain text (untrusted input).",
        ),
    ] = False,
) -> None:
    """Sort passages by how well they answer QUERY.

    [dim]kalm rerank "capital of China?" "Beijing is." "Bodies attract."[/dim]

    [dim]kalm rerank "capital of China?" --file passages.jsonl --top-k 5 --json[/dim]
    """
    ratio = ratio_from_text(compression_ratio)
    smallest = check_min_score(min_score)
    passages = [Passage(text) for text in documents or []]
    if file is not None:
        passages += read_passages(file)
    if not passages:
        raise InputError(
            "There are no passages to rank.",
            hint="Give them after the query, or in a file with --file (- for standard input).",
        )

    from kalm_reranker.reranker import KaLMReranker  # here, because it imports torch

    reranker = KaLMReranker(
        model,
        device=device,
        dtype=dtype,
        engine=engine,  # type: ignore[arg-type]  # checked where it is used
        quantization=quantization,  # type: ignore[arg-type]
        calibration=calibration,
        compression_ratio=ratio,
        max_length=UNSET if max_length is None else max_length,
        special_tokens="text" if plain_text else "control",
        long_documents=long_documents,  # type: ignore[arg-type]
    )
    ranked = reranker.rank(
        query,
        [passage.text for passage in passages],
        instruction,
        top_k=top_k,
        return_margin=True,
    )
    rows = [
        RankedRow(
            rank=rank,
            corpus_id=result["corpus_id"],
            id=passages[result["corpus_id"]].id,
            score=result["score"],
            margin=result["margin"],
            text=passages[result["corpus_id"]].text,
            raw_score=result.get("raw_score"),
        )
        for rank, result in enumerate(ranked, start=1)
        if result["score"] >= smallest
    ]
    if as_json:
        print_json_lines(rows)
    else:
        print_table(rows, with_margin=margin)
    report_left_out(len(ranked) - len(rows), len(ranked), smallest)
    _report_cuts(reranker.stats, reranker.options)


def _report_cuts(stats: "RerankerStats", options: "PipelineOptions") -> None:
    if stats.queries_truncated:
        typer.echo(
            f"note: the query was cut at {options.query_max_length} tokens, this model's limit",
            err=True,
        )
    if stats.passages_truncated:
        typer.echo(
            f"note: {stats.passages_truncated} of {stats.passages_encoded} passages were cut at "
            f"{options.max_length} tokens (--max-length); --long-documents windows reads all of "
            "them",
            err=True,
        )
    if stats.passages_split:
        typer.echo(
            f"note: {stats.passages_split} of {stats.passages_encoded} passages were read in "
            f"{stats.windows_encoded} windows of {options.max_length} tokens",
            err=True,
        )
