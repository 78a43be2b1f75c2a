"""What the commands of the reference's vLLM adapter share: options and output.

They keep that adapter's names and flags, so that scripts written for it run; the work is done by
this package's own engine.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from kalm_reranker.errors import (
    CheckpointUnavailableError,
    DataFileError,
    InvalidRatioError,
    shown,
)

DEFAULT_MODEL = "KaLM-Embedding/KaLM-Reranker-V1-Nano"
DEFAULT_QUERY_MAX_LENGTH = 512
DEFAULT_DOCUMENT_MAX_LENGTH = 1024
DEFAULT_CHUNK_SIZE = 4
CHUNK_SIZES = (1, 2, 4, 8, 16, 32)

_PLUGIN_VARIABLE = "VLLM_PLUGINS"

AdapterModelOption = Annotated[
    str,
    typer.Option(
        "--model", help="Hub id, directory, or short name; pico is in the package, works offline."
    ),
]
QueryMaxLengthOption = Annotated[
    int, typer.Option("--query-max-length", min=1, help="Tokens a query is cut at.")
]
DocumentMaxLengthOption = Annotated[
    int,
    typer.Option(
        "--document-max-length",
        min=1,
        help="Tokens a document is cut at, `<Document>: ` included.",
    ),
]
ChunkSizeOption = Annotated[
    int,
    typer.Option(
        "--encoder-chunk-size",
        help="Tokens per stored state: 1, 2, 4, 8, 16 or 32; of `kalm` commands "
        "--compression-ratio takes any number, or none.",
    ),
]
AdapterDeviceOption = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:0, ... (default: cuda if any)")
]
AdapterDtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype", help="bfloat16, float16 or float32. (default: what the hardware is fast at)"
    ),
]


def new_app() -> typer.Typer:
    """Returns the frame of a command of its own."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def check_chunk_size(chunk_size: int) -> int:
    """Returns a chunk size that the reference's adapter has.

    Raises:
        InvalidRatioError: It has no such size.
    """
    if chunk_size not in CHUNK_SIZES:
        raise InvalidRatioError(
            f"--encoder-chunk-size must be one of {', '.join(map(str, CHUNK_SIZES))}; "
            f"got {chunk_size}.",
            hint="`kalm serve` and `kalm rerank` take any positive number, or none, as "
            "--compression-ratio.",
        )
    return chunk_size


def note_plugin_variable() -> None:
    """Says on stderr that vLLM's variable for plugins has no effect, where it is set."""
    if os.environ.get(_PLUGIN_VARIABLE):
        typer.echo(
            f"note: {_PLUGIN_VARIABLE} is ignored: this command runs kalm-reranker's own engine, "
            "not vLLM",
            err=True,
        )


@contextmanager
def naming_the_offline_model(model: str) -> Iterator[None]:
    """Adds to errors of a model that cannot be fetched which one needs no network."""
    try:
        yield
    except CheckpointUnavailableError as error:
        raise CheckpointUnavailableError(
            f"{model} is not on this machine: {error.message}",
            hint=f"`--model pico` works offline. {error.hint or ''}".rstrip(),
        ) from error


def read_request(path: Path) -> dict[str, Any]:
    """Returns the JSON object of a request file; "-" is standard input.

    Raises:
        DataFileError: It cannot be read, or is no object.
    """
    name = "standard input" if str(path) == "-" else str(path)
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        value = json.loads(data)
    except OSError as error:
        raise DataFileError(f"{name} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise DataFileError(f"{name} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise DataFileError(
            f"{name} must hold a JSON object, the body of a request; got {shown(value)}."
        )
    return value
