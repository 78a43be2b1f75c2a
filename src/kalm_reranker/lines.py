"""The lines of a text file, plain or gzipped, with their numbers; JSON objects on them."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kalm_reranker.errors import DataFileError, shown

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def existing_file(path: Path) -> Path | None:
    """Returns the file itself, or its gzipped form (`.gz` appended), or None."""
    for candidate in (path, path.with_name(f"{path.name}.gz")):
        if candidate.is_file():
            return candidate
    return None


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields (line number from 1, line without its end); lines of white space are left out.

    Raises:
        DataFileError: The file cannot be opened, is no UTF-8, or is broken as a gzip file.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from decoded_lines(file, str(path))
    except OSError as error:
        raise DataFileError(
            f"{path} cannot be read: {error.strerror or error}.",
            hint="Check the path and its permissions.",
        ) from error


def decoded_lines(raw_lines: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Yields (line number from 1, line without its end); lines of white space are left out.

    Args:
        raw_lines: Lines as bytes: a file opened in binary mode, or standard input's buffer.
        name: What messages call the source.

    Raises:
        DataFileError: A line is no UTF-8, or the source is broken as a gzip file.
    """
    number = 0
    try:
        for number, raw in enumerate(raw_lines, start=1):
            # Bytes are decoded line by line, so that the message can name the line.
            line = (raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw).decode("utf-8")
            if line.strip():
                yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{name}, line {number}: expected UTF-8 text; byte {error.object[error.start]:#04x} "
            f"at column {error.start + 1} is not.",
            hint="Convert the file to UTF-8.",
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFileError(
            f"{name}, after line {number}: expected a complete gzip file; {error}.",
            hint="The file is damaged or was cut off; copy or download it again.",
        ) from error


def json_object(line: str, where: str) -> dict[str, Any]:
    """Returns the JSON object a line holds.

    Args:
        line: The line.
        where: File and line, for messages.

    Raises:
        DataFileError: It holds something else.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataFileError(
            f"{where}: expected one JSON object; {error.msg} at column {error.colno} of "
            f"{shown(line)}.",
            hint="Each line must be a whole JSON object.",
        ) from error
    except (ValueError, RecursionError) as error:  # endless digits, endless nesting
        raise DataFileError(f"{where}: cannot be read as JSON: {error}.") from error
    if not isinstance(record, dict):
        raise DataFileError(
            f"{where}: expected one JSON object; got {shown(line)}.",
            hint='Write {"text": "..."}, with the fields this kind of file needs.',
        )
    return record
