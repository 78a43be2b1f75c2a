"""Values of each query as a CSV file, one for each ranker.

    "query_id","num_candidates","nDCG@10","RR@10",...
    "q1",100,0.6309297535714575,0.5,...

A cell is empty where a measure has no value for a query.
"""

import csv
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from kalm_reranker.errors import DataFileError, InputError, shown
from kalm_reranker.lines import reading
from kalm_reranker.whole_files import write_whole

_QUERY_ID = "query_id"
_NUM_CANDIDATES = "num_candidates"


@dataclass(frozen=True, kw_only=True)
class PerQuery:
    """Values of one ranker, by query.

    Attributes:
        values: Measure -> query id -> value, in the order of the file; a query may be missing
            from a measure.
        num_candidates: Query id -> candidates it had; every query, in the order of the file.
    """

    values: dict[str, dict[str, float]]
    num_candidates: dict[str, int]


def write_per_query(path: Path, table: PerQuery) -> None:
    """Writes a table: the whole of it, or nothing. Its folder is made if it is not there.

    Values are written in full, so that reading gives the same table back. Any text may be an id.

    Raises:
        InputError: A value belongs to a query without a number of candidates, or an id cannot be
            written as UTF-8.
        DataFileError: The file cannot be written.
    """
    for measure, values in table.values.items():
        unknown = values.keys() - table.num_candidates.keys()
        if unknown:
            raise InputError(
                f"num_candidates must have every query; {measure} has {shown(min(unknown))} too."
            )
    text = StringIO(newline="")
    # Texts are quoted, with whatever they hold; a bare "\r" would not be otherwise.
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow([_QUERY_ID, _NUM_CANDIDATES, *table.values])
    for query_id, count in table.num_candidates.items():
        cells = [values.get(query_id, "") for values in table.values.values()]
        writer.writerow([query_id, count, *cells])
    try:
        content = text.getvalue().encode("utf-8")
    except UnicodeEncodeError as error:
        got = shown(error.object[error.start : error.end])
        raise InputError(f"ids must be text that UTF-8 can hold; got {got}.") from error
    write_whole(path, content)


def read_per_query(path: Path) -> PerQuery:
    """Returns the table in a file.

    Raises:
        DataFileError: The file cannot be read, or a row is not as described above; the message
            names file and line.
    """
    with reading(str(path)), path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, strict=True)
        where = f"{path}, line 1"
        try:
            header = next(rows, [])
            measures = header[2:]
            if header[:2] != [_QUERY_ID, _NUM_CANDIDATES] or len(set(measures)) < len(measures):
                raise DataFileError(
                    f"{where}: expected columns {_QUERY_ID}, {_NUM_CANDIDATES} and measures, each "
                    f"once; got {shown(header)}.",
                    hint="Files of values by query are those that an evaluation wrote.",
                )
            table = PerQuery(values={measure: {} for measure in measures}, num_candidates={})
            where = f"{path}, line {rows.line_num + 1}"
            for row in rows:
                _add_row(table, row, where)
                where = f"{path}, line {rows.line_num + 1}"  # a row may have several lines
        except csv.Error as error:
            raise DataFileError(f"{where}: expected a row of a CSV file; {error}.") from error
        except UnicodeDecodeError as error:
            raise DataFileError(
                f"{path}: expected UTF-8 text, but some is not.", hint="Convert the file to UTF-8."
            ) from error
    return table


def _add_row(table: PerQuery, row: list[str], where: str) -> None:
    expected = 2 + len(table.values)
    if len(row) != expected:
        raise DataFileError(f"{where}: expected {expected} columns; got {len(row)}.")
    query_id, count, *cells = row
    if query_id in table.num_candidates:
        raise DataFileError(f"{where}: expected a new query; {shown(query_id)} came before.")
    try:
        table.num_candidates[query_id] = int(count)
        for values, cell in zip(table.values.values(), cells, strict=True):
            if cell:
                values[query_id] = float(cell)
    except ValueError as error:
        raise DataFileError(f"{where}: expected numbers; got {shown(row[1:])}.") from error
