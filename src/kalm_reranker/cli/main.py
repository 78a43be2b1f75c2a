"""Entry point of the `kalm` command: collects the commands.

Nothing here imports PyTorch, so that `kalm --help` answers at once.
"""

from typing import Annotated

import typer

from kalm_reranker import __version__
from kalm_reranker.cli.bench import bench
from kalm_reranker.cli.calibrate import calibrate
from kalm_reranker.cli.compare import compare
from kalm_reranker.cli.demo import demo
from kalm_reranker.cli.evaluate import app as analyze_app
from kalm_reranker.cli.evaluate import evaluate
from kalm_reranker.cli.index import app as index_app
from kalm_reranker.cli.models import models
from kalm_reranker.cli.rerank import rerank
from kalm_reranker.cli.running import run_app, set_log_level
from kalm_reranker.cli.search import search
from kalm_reranker.cli.serve import serve

app = typer.Typer(
    name="kalm",
    help="Rerank with KaLM-Reranker-V1. Results go to stdout, everything else to stderr.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(rerank)
app.add_typer(index_app)
app.command()(search)
app.command()(serve)
app.command()(models)
app.command()(demo)
app.command()(bench)
app.command(name="eval")(evaluate)
app.add_typer(analyze_app)
app.command()(calibrate)
app.command()(compare)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kalm-reranker {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what is loaded, cut and scored to stderr.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    set_log_level(verbose=verbose)


def main() -> None:
    """Runs the command line."""
    run_app(app, "kalm")
