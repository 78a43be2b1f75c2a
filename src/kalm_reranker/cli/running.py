"""How every command of this package runs and ends: its log, its errors, its exit code."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from kalm_reranker.errors import KalmRerankerError

_EXIT_ERROR = 1
_EXIT_INTERRUPTED = 130  # what shells report for Ctrl-C


def run_app(app: typer.Typer, name: str) -> None:
    """Runs a command line; the process ends with 0, 1 (an error), 2 (usage) or 130 (Ctrl-C).

    Args:
        app: The command, or several.
        name: What users call it.
    """
    _let_waiting_threads_sleep()
    try:
        with _log_on_stderr():
            try:
                app(prog_name=name)
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


def set_log_level(*, verbose: bool) -> None:
    """Chooses between warnings and everything that is worth a line."""
    _log().setLevel(logging.INFO if verbose else logging.WARNING)


def show_times_in_log() -> None:
    """Puts the time before each line of the log: for what runs long."""
    form = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    for handler in _log().handlers:
        handler.setFormatter(form)


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    log = _log()
    propagated = log.propagate
    log.addHandler(handler)
    log.propagate = False
    set_log_level(verbose=False)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagated


def _log() -> logging.Logger:
    # Only this package's: other libraries have much to say at every level.
    return logging.getLogger("kalm_reranker")


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
