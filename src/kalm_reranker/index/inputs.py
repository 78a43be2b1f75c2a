"""What can be added to an index, as a stream of records."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import closing
from typing import Any, Protocol, TypeAlias, runtime_checkable

from kalm_reranker.errors import DataFileError, InputError, TextTypeError, shown
from kalm_reranker.index.sources.fields import passage_from_fields
from kalm_reranker.index.sources.open import open_source
from kalm_reranker.index.sources.record import Record, Source, SourceProblem
from kalm_reranker.store.passage import Passage, check_passage
from kalm_reranker.store.sqlite_store import STORE_FILE, SQLiteStore


@runtime_checkable
class SourceLike(Source, Protocol):
    """A source that can be told from other iterables: it has a name and a count."""


PassageInput: TypeAlias = Passage | Mapping[str, Any] | tuple[str, str]


class Given:
    """Passages handed over in memory, or by a generator.

    Args:
        passages: `Passage`s, mappings with "id" and "text" (and "title", "metadata"), or
            (id, text) pairs. Read once, as they are needed.
    """

    name = "passages"

    def __init__(self, passages: Iterable[PassageInput]) -> None:
        self._passages = passages

    def __iter__(self) -> Iterator[Record]:
        for position, item in enumerate(self._passages):
            where = f"passages[{position}]"
            try:
                yield _passage(item, where)
            except InputError as error:
                typed = error if isinstance(error, DataFileError) else _as_data_error(error)
                yield SourceProblem(where, typed)

    def count(self) -> int | None:
        """Returns how many there are; None for a generator."""
        return len(self._passages) if isinstance(self._passages, Sized) else None


class OtherIndex:
    """The passages of another index, to be encoded again: by another model, or at another ratio.

    Args:
        folder: The index.
    """

    def __init__(self, folder: str) -> None:
        self._store = SQLiteStore.open(folder)
        self.name = folder
        if not self._store.header.keep_text:
            raise DataFileError(
                f"The index in {folder} keeps no texts, so its passages cannot be encoded again.",
                hint="Add them from where they came from.",
            )

    def __iter__(self) -> Iterator[Record]:
        with closing(self._store):
            for read in self._store.all_passages():
                for damage in read.damaged:
                    error = DataFileError(
                        f"{self.name}: {damage}.", hint="Add this passage from where it came from."
                    )
                    yield SourceProblem(self.name, error)
                for passage in read.found.values():
                    yield Passage(passage.id, passage.text or "", passage.metadata or None)

    def count(self) -> int:
        """Returns how many passages it holds."""
        return self._store.num_passages()


def as_source(
    given: "str | os.PathLike[str] | Source | Iterable[PassageInput]",
    *,
    format: str = "auto",
    columns: list[str] | None = None,
) -> Source:
    """Returns what was given as a source.

    Args:
        given: A location (a file, a directory, another index, "-" for standard input), a source,
            or passages.
        format: Of a location, see `open_source`.
        columns: Of a location, see `open_source`.

    Raises:
        DataFileError: There is nothing at the location, or nothing that can be read.
        TextTypeError: What was given cannot be iterated.
    """
    if isinstance(given, str | os.PathLike):
        location = os.fspath(given)
        if format == "auto" and os.path.isfile(os.path.join(location, STORE_FILE)):
            return OtherIndex(location)
        return open_source(location, format=format, columns=columns)
    if isinstance(given, Passage) or not isinstance(given, Iterable):
        raise TextTypeError(
            f"passages must be a location or an iterable of passages; got {type(given).__name__}.",
            hint="Put a single passage into a list.",
        )
    if isinstance(given, SourceLike):
        return given
    return Given(given)


def _passage(item: object, where: str) -> Passage:
    if isinstance(item, Passage):
        return check_passage(item, where)
    if isinstance(item, Mapping):
        return passage_from_fields(item, where)
    if isinstance(item, tuple | list) and len(item) == 2:
        return check_passage(Passage(*item), where)
    raise TextTypeError(
        f"{where} must be a Passage, a mapping with id and text, or an (id, text) pair; "
        f"got {shown(item)}.",
    )


def _as_data_error(error: InputError) -> DataFileError:
    typed = DataFileError(error.message, hint=error.hint)
    typed.__cause__ = error
    return typed
