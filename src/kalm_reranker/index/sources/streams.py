"""Where bytes come from: a file, plain or gzipped, or standard input."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from kalm_reranker.errors import DataFileError
from kalm_reranker.index.sources.characters import printable
from kalm_reranker.lines import is_gzip, opened, reading

_BLOCK_BYTES = 2**20


class ByteStream(Protocol):
    """Bytes with a name."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def open(self) -> AbstractContextManager[BinaryIO]:
        """Opens it; an OSError inside the `with` block becomes a DataFileError."""

    def count_lines(self) -> int | None:
        """Returns how many lines it has; None where that would mean reading all of it twice."""


@dataclass(frozen=True)
class FileStream:
    """A file, unpacked if its name ends in `.gz`."""

    path: Path

    @property
    def name(self) -> str:
        """The path as it was given."""
        return printable(str(self.path))

    def open(self) -> AbstractContextManager[BinaryIO]:
        """Opens the file.

        Raises:
            DataFileError: It cannot be read.
        """
        return opened(self.path, self.name)

    def count_lines(self) -> int | None:
        """Returns the number of lines of a plain file; None for a gzipped one, a pipe, no file."""
        # A pipe that is read here would be empty afterwards.
        if is_gzip(self.path) or not self.path.is_file():
            return None
        try:
            with self.path.open("rb", buffering=0) as file:
                return _count_lines(file)
        except OSError:
            return None  # reading it will say why


def _count_lines(file: BinaryIO) -> int:
    count = 0
    last = b"\n"
    while block := file.read(_BLOCK_BYTES):
        count += block.count(b"\n")
        last = block[-1:]
    return count + (last != b"\n")


class StandardInput:
    """Standard input, which can be read once.

    Raises:
        DataFileError: It is closed.
    """

    name = "standard input"

    def __init__(self) -> None:
        if sys.stdin is None:
            raise DataFileError("standard input is closed.", hint="Name a file instead of -.")

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Gives standard input, and leaves it open.

        Raises:
            DataFileError: It cannot be read.
        """
        with reading(self.name):
            yield sys.stdin.buffer

    def count_lines(self) -> None:
        """Returns None: nobody knows how much will come."""
