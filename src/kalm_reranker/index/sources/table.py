"""Rows of text fields to passages: finds the columns in the first row, reads the others."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from kalm_reranker.errors import DataFileError
from kalm_reranker.index.sources.columns import Columns, is_header, named_columns
from kalm_reranker.index.sources.record import Record, SourceProblem
from kalm_reranker.index.sources.streams import ByteStream


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a text file.

    Args:
        where: File and line.
        cells: Its fields, or why they cannot be read.
    """

    where: str
    cells: Sequence[str] | DataFileError


@dataclass(frozen=True)
class TableFile:
    """What the files of rows have in common.

    Args:
        stream: Where the bytes come from.
        columns: Names of the columns, "" for those to drop; None to take the header's.
    """

    stream: ByteStream
    columns: Sequence[str] | None = None

    @property
    def name(self) -> str:
        """The file's path, or "standard input"."""
        return self.stream.name


def read_table(
    rows: Iterable[Row],
    *,
    names: Sequence[str] | None,
    names_of_two: Sequence[str] | None = None,
    count_hint: str,
) -> Iterator[Record]:
    """Yields a passage or a problem for each row but the header.

    Args:
        rows: The rows, header included if there is one.
        names: Names of the columns, which go before those of a header; None for the header's.
        names_of_two: What the columns are called where there are no names, no header, and two
            fields; None if a header is required.
        count_hint: The next step for a row with too few or too many fields.

    Raises:
        DataFileError: It cannot be told which columns are the id and the text.
    """
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    columns = _columns(first, names, names_of_two)
    if isinstance(first.cells, DataFileError) or not is_header(first.cells):
        rows = chain([first], rows)
    for row in rows:
        yield _record(row, columns, count_hint)


def _columns(
    first: Row, names: Sequence[str] | None, names_of_two: Sequence[str] | None
) -> Columns:
    cells = first.cells
    if isinstance(cells, DataFileError):
        if names is None:
            raise cells
        return named_columns(names, "columns")
    header = is_header(cells)
    if names is not None:
        if header and len(cells) != len(names):
            raise DataFileError(
                f"{first.where}: expected as many columns as were named, {len(names)}; the header "
                f"has {len(cells)}.",
                hint='Name all columns in their order; "-" drops one.',
            )
        return named_columns(names, "columns")
    if not header and names_of_two is not None:
        if len(cells) != len(names_of_two):
            raise DataFileError(
                f'{first.where}: expected a header with a column "text", or {len(names_of_two)} '
                f"fields ({', '.join(names_of_two)}); got {len(cells)} fields and no header.",
                hint="Name the columns in their order (--columns), or write a header.",
            )
        return named_columns(names_of_two, first.where)
    return named_columns([cell.strip() for cell in cells], first.where)


def _record(row: Row, columns: Columns, count_hint: str) -> Record:
    try:
        if isinstance(row.cells, DataFileError):
            raise row.cells
        if len(row.cells) != columns.count:
            raise DataFileError(
                f"{row.where}: expected {columns.count} fields; got {len(row.cells)}.",
                hint=count_hint,
            )
        return columns.passage(row.cells, row.where)
    except DataFileError as error:
        return SourceProblem(row.where, error)
