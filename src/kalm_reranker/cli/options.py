"""Options that several commands share, and how their text becomes a value."""

from pathlib import Path
from typing import Annotated

import typer

from kalm_reranker.errors import InvalidOptionError, InvalidRatioError
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
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="FILE",
        help="What `kalm calibrate` wrote: scores become calibrated probabilities.",
    ),
]
MinScoreOption = Annotated[
    float | None,
    typer.Option(
        "--min-score",
        metavar="X",
        help="Leave out results with a smaller score, and say how many.",
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


def check_min_score(value: float | None) -> float:
    """Returns the smallest score to show, 0 if not given.

    Raises:
        InvalidOptionError: No score can be that.
    """
    if value is None:
        return 0.0
    if not 0 <= value <= 1:
        raise InvalidOptionError(f"--min-score must be from 0 to 1; got {value}.")
    return value


def report_left_out(count: int, total: int, min_score: float) -> None:
    """Says on stderr how many results `--min-score` left out."""
    if count:
        typer.echo(f"note: {count} of {total} results score below {min_score}", err=True)


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


def counts_from_text(text: str, option: str) -> tuple[int, ...]:
    """Reads positive numbers such as 128,256.

    Raises:
        InvalidOptionError: It is something else.
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise InvalidOptionError(
            f"{option} must be positive whole numbers with commas between them; got {text!r}."
        )
    return numbers
