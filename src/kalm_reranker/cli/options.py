"""Options that several commands share, and how their text becomes a value."""

from pathlib import Path
from typing import Annotated

import typer

from kalm_reranker.errors import InvalidRatioError
from kalm_reranker.options import UNSET, RatioOption

ModelOption = Annotated[
    str,
    typer.Option("--model", "-m", help="Short name (see `kalm models`), directory, or hub id."),
]
IndexArgument = Annotated[Path, typer.Argument(help="The folder of the index.")]
MovedModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Where the index's model is, if it has moved."),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:0, ... (default: cuda if any)")
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype", help="bfloat16, float16 or float32. (default: what the hardware is fast at)"
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine", help="auto, eager, fused (oneDNN on CPUs) or compiled; see docs/performance.md."
    ),
]
QuantizationOption = Annotated[
    str | None,
    typer.Option(
        "--quantization", help="int8: the decoder's weights in 8 bits. (default: as they are)"
    ),
]
RatioTextOption = Annotated[
    str | None,
    typer.Option(
        "--compression-ratio",
        "-r",
        metavar="N|none",
        help="Tokens per stored passage state. (default: the checkpoint's own)",
    ),
]
MaxLengthOption = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        help="Tokens a passage is cut at, or of a window. (default: the checkpoint's own)",
    ),
]
LongDocumentsOption = Annotated[
    str,
    typer.Option(
        "--long-documents",
        help="Passages above --max-length: truncate, or windows (read whole, in windows; the best "
        "one counts).",
    ),
]


def ratio_from_text(text: str | None) -> RatioOption:
    """Reads a compression ratio as typed on a command line; "none" is no pooling.

    Raises:
        InvalidRatioError: Neither a whole number nor "none".
    """
    if text is None:
        return UNSET
    if text.lower() == "none":
        return None
    try:
        return int(text)  # whether it is positive is checked where it is used
    except ValueError:
        raise InvalidRatioError(
            f"--compression-ratio must be a positive integer or 'none'; got {text!r}."
        ) from None
