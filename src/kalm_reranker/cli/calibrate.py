"""`kalm calibrate`: from labelled pairs to scores that mean what they say, and a threshold."""

import math
from pathlib import Path
from typing import Annotated

import typer

from kalm_reranker.cli.calibration_view import render_calibration
from kalm_reranker.cli.options import (
    DeviceOption,
    DtypeOption,
    EngineOption,
    LongDocumentsOption,
    MaxLengthOption,
    ModelOption,
    QuantizationOption,
    RatioTextOption,
    ratio_from_text,
)
from kalm_reranker.cli.output import console, print_json
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.options import UNSET


def calibrate(
    pairs: Annotated[
        Path,
        typer.Argument(
            help="Labelled pairs: .jsonl with query, passage, label (or margin, label), .tsv with "
            "the same columns, or a directory in BEIR form."
        ),
    ],
    model: ModelOption = "pico",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the calibration.")
    ] = Path("calibration.json"),
    method: Annotated[
        str,
        typer.Option("--method", help="platt (slope and intercept), or temperature (slope alone)."),
    ] = "platt",
    precision: Annotated[
        list[float] | None,
        typer.Option(
            "--precision",
            "-p",
            metavar="P",
            help="Find a threshold with this precision. May be repeated. (default: 0.8 and 0.9)",
        ),
    ] = None,
    instruction: Annotated[
        str | None,
        typer.Option(
            "--instruction",
            "-i",
            help="Task instruction of pairs without one. (default: the checkpoint's own)",
        ),
    ] = None,
    compression_ratio: RatioTextOption = None,
    split: Annotated[
        str, typer.Option("--split", help="Of a directory: the judgements, qrels/SPLIT.tsv.")
    ] = "test",
    candidates: Annotated[
        int,
        typer.Option(
            "--candidates", "-n", min=1, help="Of a directory: BM25's best for each query."
        ),
    ] = 100,
    queries: Annotated[
        int | None,
        typer.Option("--queries", min=1, help="Of a directory: the first only. (default: all)"),
    ] = None,
    max_length: MaxLengthOption = None,
    long_documents: LongDocumentsOption = "truncate",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    engine: EngineOption = "auto",
    quantization: QuantizationOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the division into folds.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Fit a calibration of scores to labelled pairs, and find thresholds.

    Give pairs as they come up in use: all candidates of a query, relevant or not.

    `kalm rerank` and `kalm search` take the file as --calibration.

    [dim]kalm calibrate pairs.jsonl --precision 0.9 -o calibration.json[/dim]
    """
    # What can be wrong with the end is said before the work.
    for wanted in precision or []:
        if not (math.isfinite(wanted) and 0 < wanted <= 1):
            raise InvalidOptionError(f"--precision must be above 0 and at most 1; got {wanted}.")
    if method not in ("platt", "temperature"):
        raise InvalidOptionError(f"--method must be platt or temperature; got {method!r}.")
    if output.is_dir() or not output.parent.is_dir():
        raise InvalidOptionError(f"--output must be a file in a folder that exists; got {output}.")
    ratio = ratio_from_text(compression_ratio)

    from kalm_reranker.calibration import CalibrationOrigin
    from kalm_reranker.evaluation.calibration.calibrating import calibrate as fit_calibration
    from kalm_reranker.evaluation.calibration.labelled_pairs import read_labelled, score_labelled

    labelled = read_labelled(pairs, split=split, candidates=candidates, queries=queries)
    notes = list(labelled.notes)
    margins, origin = list(labelled.margins), CalibrationOrigin()
    if labelled.pairs:
        from kalm_reranker.reranker import KaLMReranker  # here, because it imports torch

        reranker = KaLMReranker(
            model,
            device=device,
            dtype=dtype,
            engine=engine,  # type: ignore[arg-type]  # checked where it is used
            quantization=quantization,  # type: ignore[arg-type]
            compression_ratio=ratio,
            max_length=UNSET if max_length is None else max_length,
            long_documents=long_documents,  # type: ignore[arg-type]
        )
        margins, origin = score_labelled(reranker, labelled.pairs, instruction)
    else:
        notes.append(
            "margins do not say which model they are of, so no other model is refused with this "
            "calibration"
        )
    report = fit_calibration(
        margins,
        method=method,  # type: ignore[arg-type]  # checked above
        precisions=precision or (0.8, 0.9),
        origin=origin,
        source=str(pairs),
        seed=seed,
    )
    report.calibration.save(output)
    if as_json:
        print_json(report.as_dict() | {"notes": [*notes, *report.notes]})
    else:
        render_calibration(report, notes, console())
    typer.echo(f"written: {output}", err=True)
