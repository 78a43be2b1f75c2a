"""Fields separated by tabs, without quoting, as MS MARCO's collection.tsv is written."""

from collections.abc import Iterator

from kalm_reranker.errors import DataFileError
from kalm_reranker.index.sources.characters import refuse_nul
from kalm_reranker.index.sources.record import Record
from kalm_reranker.index.sources.table import Row, TableFile, read_table
from kalm_reranker.lines import decoded_line, numbered


class Tsv(TableFile):
    """Passages as lines of fields separated by tabs; empty lines are left out.

    The first line is a header if one of its fields is "text". Without a header and without
    `columns`, the two fields of a line are the id and the text.

    Args:
        stream: Where the lines come from.
        columns: Names of the columns, "" for those to drop; None to take the header's.
    """

    def __iter__(self) -> Iterator[Record]:
        """Yields a passage or a problem for each line but the header.

        Raises:
            DataFileError: The file cannot be read (any further), or its columns are unknown.
        """
        return read_table(
            self._rows(),
            names=self.columns,
            names_of_two=("id", "text"),
            count_hint="A tab always begins a new field here; write spaces inside of texts.",
        )

    def count(self) -> int | None:
        """Returns the number of lines; None for gzipped files and standard input."""
        return self.stream.count_lines()

    def _rows(self) -> Iterator[Row]:
        with self.stream.open() as file:
            for number, raw in numbered(file, self.name):
                where = f"{self.name}, line {number}"
                try:
                    line = refuse_nul(decoded_line(raw, number, self.name), where)
                except DataFileError as error:
                    yield Row(where, error)
                    continue
                if line.strip() or "\t" in line:
                    yield Row(where, line.split("\t"))
