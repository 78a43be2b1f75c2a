"""Parquet files, read a few hundred rows at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from kalm_reranker.errors import DataFileError
from kalm_reranker.extras import import_extra
from kalm_reranker.index.sources.characters import printable
from kalm_reranker.index.sources.columns import Columns, named_columns
from kalm_reranker.index.sources.json_values import json_value
from kalm_reranker.index.sources.record import Record, SourceProblem
from kalm_reranker.lines import reading

_BATCH_ROWS = 256  # rows in memory at once; passages of a megabyte each would still fit
_BUFFER_BYTES = 2**20  # read ahead per column, in place of the whole column of a row group


class _Scalar(Protocol):
    def as_py(self) -> object: ...


class _Column(Protocol):
    def __getitem__(self, row: int) -> _Scalar: ...


class ParquetFile:
    """Passages as rows of a parquet file.

    Columns are named as the fields of JSON lines, in upper or lower case. Other columns become
    metadata where JSON can write them; nulls are left out.

    Args:
        path: The file.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        purpose = "Reading parquet files"
        self._parquet = import_extra("pyarrow.parquet", extra="parquet", purpose=purpose)
        self._arrow = import_extra("pyarrow", extra="parquet", purpose=purpose)
        self._path = path

    @property
    def name(self) -> str:
        """The file's path."""
        return printable(str(self._path))

    def __iter__(self) -> Iterator[Record]:
        """Yields a passage or a problem for each row.

        Raises:
            DataFileError: The file cannot be read (any further), or its columns are unknown.
        """
        number = 0
        with self._opened() as file:
            names = list(file.schema_arrow.names)
            columns = named_columns(names, self.name)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                arrays = list(zip(names, batch.columns, strict=True))
                for row in range(batch.num_rows):
                    number += 1
                    yield self._record(arrays, row, columns, f"{self.name}, row {number}")

    def count(self) -> int | None:
        """Returns the number of rows; None if the file cannot be read."""
        try:
            with self._opened() as file:
                return int(file.metadata.num_rows)
        except DataFileError:
            return None  # reading it will say why

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Opens the file; errors of pyarrow inside of the `with` block name it."""
        with reading(self.name), self._path.open("rb") as raw:
            try:
                yield self._parquet.ParquetFile(raw, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            # A damaged page shows itself as an OSError without a number.
            except (self._arrow.ArrowException, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise DataFileError(
                    f"{self.name}: expected a complete parquet file; {error}",
                    hint="The file is damaged, was cut off, or is of another format.",
                ) from error

    def _record(
        self, arrays: list[tuple[str, _Column]], row: int, columns: Columns, where: str
    ) -> Record:
        try:
            cells = [self._cell(array, row, f'{where}, column "{name}"') for name, array in arrays]
            return columns.passage(cells, where)
        except DataFileError as error:
            return SourceProblem(where, error)

    def _cell(self, array: _Column, row: int, where: str) -> object:
        try:
            value = array[row].as_py()
        # No UTF-8, a time finer or farther than Python's, an unknown time zone.
        except (self._arrow.ArrowException, ValueError, OverflowError, LookupError) as error:
            raise DataFileError(
                f"{where}: expected a value that Python can hold; {error}.",
                hint="Convert the column to text (UTF-8) first.",
            ) from error
        return json_value(value, where)
