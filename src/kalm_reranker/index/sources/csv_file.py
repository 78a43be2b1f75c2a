"""Comma-separated values, with quotes around fields that hold commas, quotes or line ends."""

from collections.abc import Iterator

from kalm_reranker.index.sources.csv_rows import csv_rows
from kalm_reranker.index.sources.record import Record
from kalm_reranker.index.sources.table import Row, TableFile, read_table


class CsvFile(TableFile):
    """Passages as rows of a CSV file; empty lines are left out.

    Args:
        stream: Where the bytes come from.
        columns: Names of the columns, "" for those to drop; None to take the header's.
    """

    def __iter__(self) -> Iterator[Record]:
        """Yields a passage or a problem for each row but the header.

        Raises:
            DataFileError: The file cannot be read (any further), or its columns are unknown.
        """
        return read_table(
            self._rows(),
            names=self.columns,
            count_hint='Put a field that holds a comma into quotes, and write a quote in it as "".',
        )

    def count(self) -> int | None:
        """Returns the number of lines, of which a row may have several; None if unknown."""
        return self.stream.count_lines()

    def _rows(self) -> Iterator[Row]:
        with self.stream.open() as file:
            yield from csv_rows(file, self.name)
