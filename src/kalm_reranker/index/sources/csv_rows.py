"""The rows of a CSV file, where one that is broken does not end the others."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import BinaryIO

from kalm_reranker.errors import DataFileError
from kalm_reranker.index.sources.characters import refuse_escaped_bytes, refuse_nul
from kalm_reranker.index.sources.table import Row
from kalm_reranker.lines import numbered

# A quote that is never closed makes one record of the rest of the file. No passage comes near this
# length; a quarter of a gigabyte is what the csv module needs for it.
MAX_RECORD_CHARACTERS = 2**26


def csv_rows(file: BinaryIO, name: str) -> Iterator[Row]:
    """Yields the rows of a CSV file, named by the lines they begin on; empty lines are left out.

    After a row with a stray quote, reading goes on with the next line.

    Args:
        file: The file, which is left open.
        name: What messages call it.

    Raises:
        DataFileError: A row does not end, or the file is broken as a gzip file.
    """
    _allow_long_fields()
    with _decoded(file) as text:
        lines = _RecordLines(numbered(text, name), name)
        # Strict, since the default takes whatever follows a stray quote for part of the field.
        reader = csv.reader(lines, strict=True)
        while True:
            lines.start_record()
            where = f"{name}, line {lines.first}"
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(where, _syntax_error(error, where, lines))
                continue
            if len(cells) > 1 or "".join(cells).strip():
                yield Row(where, _checked(cells, where))


class _RecordLines:
    """Lines on their way to the csv module, which itself does not tell how many it took."""

    def __init__(self, lines: Iterator[tuple[int, str]], name: str) -> None:
        self._lines = lines
        self._name = name
        self._size = 0
        self.first = 1  # line of the record that is being read
        self.last = 0  # line handed out last
        self.at_end = False

    def start_record(self) -> None:
        self.first = self.last + 1
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        item = next(self._lines, None)
        if item is None:
            self.at_end = True
            raise StopIteration
        self.last, line = item
        self._size += len(line)
        if self._size > MAX_RECORD_CHARACTERS:
            raise DataFileError(
                f"{self._name}, line {self.first}: expected a row of at most "
                f"{MAX_RECORD_CHARACTERS:,} characters; it is still open on line {self.last}.",
                hint="A quote is opened there and never closed; close it or remove it.",
            )
        return line


def _checked(cells: list[str], where: str) -> list[str] | DataFileError:
    try:
        return [refuse_nul(refuse_escaped_bytes(cell, where), where) for cell in cells]
    except DataFileError as error:
        return error


def _syntax_error(error: csv.Error, where: str, lines: _RecordLines) -> DataFileError:
    if lines.at_end:
        return DataFileError(
            f"{where}: expected a closing quote; the file ends on line {lines.last} without one, "
            "and the lines from here on were read as one row.",
            hint='Close the quote or remove it; a quote inside of quotes is written "".',
        )
    return DataFileError(
        f"{where}: expected a row of CSV; {error} (on line {lines.last}).",
        hint='A quote inside of quotes is written "".',
    )


def _allow_long_fields() -> None:
    """Raises the csv module's limit on the length of a field, from 131,072 characters.

    The limit is one for the whole process, and the module has no other way to change it. It is
    only ever raised, so that no other reader in the process finds less than it asked for.
    """
    if csv.field_size_limit() < MAX_RECORD_CHARACTERS:
        csv.field_size_limit(MAX_RECORD_CHARACTERS)


@contextmanager
def _decoded(file: BinaryIO) -> Iterator[TextIOWrapper]:
    """Gives a file as text; bytes that are no UTF-8 become surrogates, for the rows to refuse."""
    text = TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield text
    finally:
        text.detach()  # or it would close standard input
