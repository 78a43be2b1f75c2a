"""`kalm demo`: the main job on real text that ships with the package."""

from pathlib import Path
from typing import Annotated

import typer

from kalm_reranker.cli.options import (
    DeviceOption,
    DtypeOption,
    MaxLengthOption,
    ModelOption,
    RatioTextOption,
    ratio_from_text,
)
from kalm_reranker.cli.output import console, print_json
from kalm_reranker.demo import run_demo
from kalm_reranker.demo_view import render_demo
from kalm_reranker.options import UNSET


def demo(
    model: ModelOption = "pico",
    candidates: Annotated[
        int, typer.Option("--candidates", min=1, help="Passages that BM25 hands to the reranker.")
    ] = 50,
    compression_ratio: RatioTextOption = None,
    max_length: MaxLengthOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="FOLDER",
            help="Keep the index there; a second run encodes nothing. (default: deleted)",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Build an index over real abstracts and search it: BM25, the model, the blend of both.

    The collection is a cut of SciFact that ships with the package; nothing is downloaded with
    the bundled model.
    """
    report = run_demo(
        model,
        device=device,
        dtype=dtype,
        compression_ratio=ratio_from_text(compression_ratio),
        max_length=UNSET if max_length is None else max_length,
        top_k=candidates,
        keep=keep,
        on_stage=lambda line: typer.echo(f"{line} ...", err=True),
    )
    if as_json:
        print_json(report.as_dict())
    else:
        render_demo(report, console())
