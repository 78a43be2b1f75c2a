"""`kalm bench`: the official path, a cross-encoder and ours, timed on this machine."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kalm_reranker.bench.settings import PATHS, BenchSettings
from kalm_reranker.bench.view import render_bench
from kalm_reranker.cli.options import (
    DeviceOption,
    DtypeOption,
    QuantizationOption,
    counts_from_text,
)
from kalm_reranker.cli.output import console, print_json
from kalm_reranker.errors import InvalidOptionError

_EXIT_INTERRUPTED = 130


def bench(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Short name, directory or hub id; or a shape filled with random weights: "
            "tiny-shape, pico-shape, nano-shape, small-shape, large-shape.",
        ),
    ] = "pico",
    lengths: Annotated[
        str, typer.Option("--lengths", help="Tokens of a passage, each measured.")
    ] = "128,256,512",
    ratios: Annotated[
        str,
        typer.Option("--ratios", help="Compression ratios, each measured at the longest length."),
    ] = "2,4,8,16,32",
    candidates: Annotated[
        int, typer.Option("--candidates", "-n", min=1, help="Passages scored for the query.")
    ] = 100,
    query_tokens: Annotated[
        int, typer.Option("--query-tokens", min=1, help="Tokens of the query.")
    ] = 24,
    paths: Annotated[
        str, typer.Option("--paths", help="What to measure, of these three.")
    ] = ",".join(PATHS),
    joint_layers: Annotated[
        int | None,
        typer.Option(
            "--cross-encoder-layers",
            min=1,
            help="Layers of the cross-encoder. The paper takes those of encoder and decoder "
            "together. (default: as many as the decoder)",
        ),
    ] = None,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            help="auto, eager, fused or compiled: how our model and the cross-encoder are run.",
        ),
    ] = "auto",
    quantization: QuantizationOption = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Most passages in a forward pass.")
    ] = 32,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="How often everything is measured.")
    ] = 3,
    warm_up: Annotated[
        int, typer.Option("--warm-up", min=0, help="Rounds before, which do not count.")
    ] = 1,
    limit: Annotated[
        float,
        typer.Option(
            "--limit",
            metavar="SECONDS",
            help="About how long to measure in all; what would take longer is measured on fewer "
            "candidates, and marked.",
        ),
    ] = 40.0,
    memory: Annotated[
        bool,
        typer.Option(
            "--memory/--no-memory", help="Measure peak memory, each path in its own process."
        ),
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write everything there, as JSON."),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            "--plots",
            metavar="FOLDER",
            help="Draw time against length and against ratio there, as PNG and SVG.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of texts and random weights.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Time the official path, a joint cross-encoder and this package on this machine.

    [dim]kalm bench[/dim]

    [dim]kalm bench --model nano-shape --lengths 512,1024 --plots plots -o bench.json[/dim]
    """
    settings = BenchSettings(
        model=model,
        lengths=counts_from_text(lengths, "--lengths"),
        ratios=counts_from_text(ratios, "--ratios"),
        candidates=candidates,
        query_tokens=query_tokens,
        dtype=dtype,
        device=device,
        engine=engine,
        quantization=quantization,
        batch_size=batch_size,
        rounds=rounds,
        warm_up=warm_up,
        paths=tuple(part.strip() for part in paths.split(",")),
        joint_layers=joint_layers,
        limit_s=limit,
        memory=memory,
        seed=seed,
    )
    # Everything that can be wrong with what is written at the end is said now.
    if plots is not None:
        from kalm_reranker.bench.plots import require_matplotlib

        require_matplotlib()
        _make_folder(plots, "--plots")
    if output is not None:
        _make_folder(output.parent, "--output")
        if output.is_dir():
            raise InvalidOptionError(f"--output must be a file; {str(output)!r} is a folder.")

    from kalm_reranker.bench.run import run_bench  # here: it imports torch

    report = run_bench(settings, on_stage=lambda line: typer.echo(f"{line} ...", err=True))
    if as_json:
        print_json(report.as_dict())
    else:
        render_bench(report, console())
    if output is not None:
        text = json.dumps(report.as_dict(), indent=2) + "\n"
        output.write_text(text, encoding="utf-8")
        typer.echo(f"written: {output}", err=True)
    if plots is not None:
        from kalm_reranker.bench.plots import draw_plots

        for path in draw_plots(report, plots):
            typer.echo(f"written: {path}", err=True)
    if report.interrupted:
        raise typer.Exit(_EXIT_INTERRUPTED)


def _make_folder(folder: Path, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidOptionError(
            f"{option}: the folder {str(folder)!r} cannot be made: {error.strerror or error}."
        ) from error
