"""The lines of a text file, plain or gzipped, with their numbers; JSON objects on them."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from kalm_reranker.errors import DataFileError, shown

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
Line = TypeVar("Line", bytes, str)


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
    name = str(path)
    with opened(path, name) as file:
        yield from decoded_lines(file, name)


def decoded_lines(raw_lines: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Yields (line number from 1, line without its end); lines of white space are left out.

    Args:
        raw_lines: Lines as bytes: a file opened in binary mode, or standard input's buffer.
        name: What messages call the source.

    Raises:
        DataFileError: A line is no UTF-8, or the source is broken as a gzip file.
    """
    for number, raw in numbered(raw_lines, name):
        line = decoded_line(raw, number, name)
        if line.strip():
            yield number, line


def decoded_line(raw: bytes, number: int, name: str) -> str:
    """Returns one line as text, without its end and without the file's byte order mark.

    Args:
        raw: The line. Bytes are decoded line by line, so that the message can name the line, and
            so that a caller can go on with the next one.
        number: Its number, from 1; a byte order mark stands on the first line only.
        name: What messages call the source.

    Raises:
        DataFileError: The line is no UTF-8.
    """
    try:
        line = (raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{name}, line {number}: expected UTF-8 text; byte {error.object[error.start]:#04x} "
            f"at column {error.start + 1} is not.",
            hint="Convert the file to UTF-8.",
        ) from error
    return line.rstrip("\r\n")


def numbered(lines: Iterable[Line], name: str) -> Iterator[tuple[int, Line]]:
    """Yields (line number from 1, line), lines as they come.

    Raises:
        DataFileError: The source is broken as a gzip file.
    """
    number = 0
    try:
        for number, line in enumerate(lines, start=1):
            yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFileError(
            f"{name}, after line {number}: expected a complete gzip file; {error}.",
            hint="The file is damaged or was cut off; copy or download it again.",
        ) from error


@contextmanager
def opened(path: Path, name: str) -> Iterator[BinaryIO]:
    """Opens a file for reading as bytes, unpacked if its name ends in `.gz`.

    Raises:
        DataFileError: It cannot be opened, or not be read any further inside the `with` block.
    """
    with reading(name):
        with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
            yield cast(BinaryIO, file)


def is_gzip(path: Path) -> bool:
    """Tells from its name whether a file is gzipped."""
    return path.suffix.lower() == ".gz"


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Names the source in the errors of the operating system.

    Raises:
        DataFileError: An OSError left the `with` block.
    """
    try:
        yield
    except OSError as error:
        raise DataFileError(
            f"{name} cannot be read: {error.strerror or error}.",
            hint="Check the path and its permissions.",
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
