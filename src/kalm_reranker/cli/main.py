"""Entry point of the `kalm` command: collects the commands and turns errors into messages.

Nothing here imports PyTorch, so that `kalm --help` answers at once.
"""

import logging
import os
import sys
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
from kalm_reranker.cli.search import search
from kalm_reranker.cli.serve import serve
from kalm_reranker.errors import KalmRerankerError

_EXIT_ERROR = 1
_EXIT_INTERRUPTED = 130  # what shells report for Ctrl-C

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
    # Only this package's log: other libraries have much to say at every level.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    log = logging.getLogger("kalm_reranker")
    log.addHandler(handler)
    log.setLevel(logging.INFO if verbose else logging.WARNING)
    log.propagate = False


def main() -> None:
    """Runs the command line; the process ends with 0, 1 (an error), 2 (usage) or 130 (Ctrl-C)."""
    _let_waiting_threads_sleep()
    try:
        try:
            app(prog_name="kalm")
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where a full disk can still be reported
    except KalmRerankerError as error:
        typer.echo(f"error: {error.message}", err=True)
        if error.hint is not None:
            typer.echo(f"hint: {error.hint}", err=True)
        sys.exit(_EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(_EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (`head`, a pager) is gone: that is its right.
        _drop_output()
        sys.exit(_EXIT_ERROR)
    except OSError as error:
        typer.echo(f"error: writing the result failed: {error.strerror or error}", err=True)
        _drop_output()
        sys.exit(_EXIT_ERROR)


def _let_waiting_threads_sleep() -> None:
    """Tells OpenMP, before PyTorch is imported, that a thread without work soon gives up its core.

    Threads that spin for long are 15% faster on an idle machine; beside one busy process they take
    3 to 5 times as long (docs/performance.md).
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


def _drop_output() -> None:
    """Keeps Python from flushing to a stdout that takes no more, and complaining, at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
