"""A folder of text files: one passage a file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kalm_reranker.errors import DataFileError
from kalm_reranker.index.sources.characters import printable, refuse_nul
from kalm_reranker.index.sources.fields import storable
from kalm_reranker.index.sources.record import Record, SourceProblem
from kalm_reranker.index.sources.walk import FoundFile, problem_of, walk
from kalm_reranker.lines import reading
from kalm_reranker.store.passage import Passage

SUFFIXES = frozenset({".txt", ".md", ".markdown"})


@dataclass(frozen=True)
class Folder:
    """Passages as text files below a folder; a passage's id is its path below it, with slashes.

    Args:
        path: The folder.
    """

    path: Path

    @property
    def name(self) -> str:
        """The folder's path."""
        return printable(str(self.path))

    def __iter__(self) -> Iterator[Record]:
        """Yields a passage or a problem for each file, sorted by id.

        Raises:
            DataFileError: The folder itself cannot be read.
        """
        with reading(self.name):
            for found in walk(self.path, SUFFIXES):
                yield found if isinstance(found, SourceProblem) else _record(found)

    def count(self) -> int | None:
        """Returns the number of files; None if the folder cannot be read."""
        try:
            return sum(isinstance(found, FoundFile) for found in walk(self.path, SUFFIXES))
        except OSError:
            return None  # reading it will say why


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file that is one passage; its id is the file's name.

    Args:
        path: The file.
    """

    path: Path

    @property
    def name(self) -> str:
        """The file's path."""
        return printable(str(self.path))

    def __iter__(self) -> Iterator[Record]:
        """Yields the passage, or what is wrong with it."""
        yield _record(FoundFile(str(self.path), self.path.name))

    def count(self) -> int:
        """Returns 1."""
        return 1


def _record(file: FoundFile) -> Record:
    where = printable(file.path)
    try:
        text = _text(Path(file.path).read_bytes(), where)
        return storable(Passage(_id(file, where), text), where)
    except OSError as error:
        return problem_of(file.path, error)
    except DataFileError as error:
        return SourceProblem(where, error)


def _id(file: FoundFile, where: str) -> str:
    try:
        file.relative.encode("utf-8")
    except UnicodeEncodeError:
        raise DataFileError(
            f"{where}: expected a path in UTF-8, which becomes the passage's id; got "
            f"{file.relative!a}.",
            hint="Rename the file or the folder it is in.",
        ) from None
    return file.relative


def _text(data: bytes, where: str) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{where}: expected UTF-8 text; byte {data[error.start]:#04x} at offset "
            f"{error.start} is not.",
            hint="Convert the file to UTF-8.",
        ) from error
    return refuse_nul(text.removeprefix("\ufeff"), where)
