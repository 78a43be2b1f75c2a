"""The one row of counters of a SQLite store, checked whenever it is read.

Everything leans on it: a `next_key` that is too low would write over passages, a `last_change` that
is too low would hide changes from whatever is derived from the store.
"""

import sqlite3
from dataclasses import astuple, dataclass
from pathlib import Path

from kalm_reranker.errors import DamagedStoreError
from kalm_reranker.store.checksums import counters_checksum, deletion_checksum

_NAMES = "next_key, last_change, num_passages, num_tokens, num_truncated"
# Keys and changes from here on are none that a store ever gave: it would take centuries.
_IMPLAUSIBLE = 2**48
_GAP = 2**24


@dataclass(slots=True)
class Counters:
    """What a store counts.

    Attributes:
        next_key: Of the next new passage.
        last_change: Number of the last put or delete.
        num_passages: Passages.
        num_tokens: Their tokens.
        num_truncated: Of the passages, cut at the length limit.
    """

    next_key: int = 1
    last_change: int = 0
    num_passages: int = 0
    num_tokens: int = 0
    num_truncated: int = 0


def read_counters(connection: sqlite3.Connection, path: Path) -> Counters:
    """Returns the counters of a store.

    Raises:
        DamagedStoreError: They are not what was written.
    """
    row = connection.execute(f"SELECT {_NAMES}, checksum FROM counters WHERE only = 1").fetchone()
    if row is not None:
        *values, checksum = row
        if all(isinstance(value, int) and value >= 0 for value in values):
            counters = Counters(*values)
            if checksum == counters_checksum(*values):
                return counters
    raise DamagedStoreError(
        f"{path} is damaged: its counters are not what was written.",
        hint="`kalm index verify --drop-damaged` counts again.",
    )


def write_counters(connection: sqlite3.Connection, counters: Counters) -> None:
    """Writes the counters, inside the caller's transaction."""
    values = astuple(counters)
    connection.execute("DELETE FROM counters")  # also a row that damage gave another number
    connection.execute(
        f"INSERT INTO counters (only, {_NAMES}, checksum) VALUES (1, ?, ?, ?, ?, ?, ?)",
        (*values, counters_checksum(*values)),
    )


def highest_numbers(connection: sqlite3.Connection) -> tuple[int, int]:
    """Returns the highest key and the highest change number that any row has; damage aside."""

    def highest(column: str, *tables: str) -> int:
        sql = f"SELECT max({column}) FROM %s WHERE {column} < {_IMPLAUSIBLE}"
        rows = [connection.execute(sql % table).fetchone() for table in tables]
        return max(value if isinstance(value, int) else 0 for (value,) in rows)

    key = highest("key", "passages", "states", "deletions")
    return key, highest("change", "passages", "deletions")


def recounted(connection: sqlite3.Connection, path: Path) -> Counters:
    """Returns the counters as the tables say; keys and changes are never below those given."""
    key, change = highest_numbers(connection)
    (passages,) = connection.execute("SELECT count(*) FROM passages").fetchone()
    sums = [
        f"total(CASE WHEN {column} BETWEEN 0 AND {largest} THEN {column} END)"
        for column, largest in (("token_count", 2**32), ("truncated", 1))
    ]
    tokens, truncated = connection.execute(f"SELECT {', '.join(sums)} FROM states").fetchone()
    try:
        old = read_counters(connection, path)
    except DamagedStoreError:
        # The last rows may have been lost with the counters; what was derived from them must not
        # take the next change for one that it has seen.
        old = Counters(next_key=key + 1 + _GAP, last_change=change + _GAP)
    return Counters(
        next_key=max(key + 1, old.next_key),
        last_change=max(change, old.last_change),
        num_passages=passages,
        num_tokens=int(tokens),
        num_truncated=int(truncated),
    )


def remove_damaged_deletions(connection: sqlite3.Connection) -> None:
    """Removes records of deletions that are not what was written."""
    damaged = [
        change
        for change, key, checksum in connection.execute(
            "SELECT change, key, checksum FROM deletions"
        )
        if not is_deletion(change, key, checksum)
    ]
    connection.executemany("DELETE FROM deletions WHERE change = ?", [(c,) for c in damaged])


def is_deletion(change: object, key: object, checksum: object) -> bool:
    """Returns whether a row of `deletions` is what was written."""
    return (
        isinstance(change, int)
        and isinstance(key, int)
        and change >= 0
        and checksum == deletion_checksum(change, key)
    )
