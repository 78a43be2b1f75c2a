"""What a source yields: passages, and what stands where one should be."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from kalm_reranker.errors import DataFileError
from kalm_reranker.store.passage import Passage


@dataclass(frozen=True, slots=True)
class SourceProblem:
    """One record that cannot be used; the records after it are still read.

    Args:
        where: Its place: a line, a row or a file, such as "corpus.jsonl, line 7".
        error: What is wrong with it, to be raised or counted as the caller likes.
    """

    where: str
    error: DataFileError

    def __post_init__(self) -> None:
        # Cause and traceback hold the line that was read, whatever its size; a caller that
        # collects problems would collect the file. The message says it all.
        self.error.__cause__ = self.error.__context__ = None
        self.error.__traceback__ = None


Record: TypeAlias = Passage | SourceProblem


class Source(Protocol):
    """Passages, read one after the other as they are asked for.

    Files can be iterated again, standard input only once.
    """

    @property
    def name(self) -> str:
        """What messages and progress bars call the source."""

    def __iter__(self) -> Iterator[Record]:
        """Yields passages and problems in the order of the source.

        Raises:
            DataFileError: Nothing more can be read: the file is missing, damaged, or has no
                usable columns.
        """

    def count(self) -> int | None:
        """Returns about how many records there are, without reading them; None if unknown."""
