"""What derived data read of a SQLite store: counters, and changes in their order."""

import heapq
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from operator import attrgetter
from typing import Any, TypeVar

from kalm_reranker.store.changes import TextChange, VectorChange
from kalm_reranker.store.connections import Connections
from kalm_reranker.store.counters import is_deletion, read_counters
from kalm_reranker.store.damage import damage_error
from kalm_reranker.store.records import Damage
from kalm_reranker.store.sqlite_errors import translated
from kalm_reranker.store.sqlite_rows import checked_passage, checked_vector

# Rows read in one transaction: a reader that stays in one for long keeps the log from being
# folded into the file.
_PAGE = 256

_Change = TypeVar("_Change", TextChange, VectorChange)


class SQLiteFeed:
    """Reads counters and changes.

    Args:
        connections: To the store's file.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def reader(self) -> sqlite3.Connection:
        """Returns this thread's connection for reading."""
        return self._connections.reader()

    def last_change(self) -> int:
        """Returns the number of the last put or delete."""
        with self._reading() as connection:
            return read_counters(connection, self._connections.path).last_change

    def num_passages(self) -> int:
        """Returns how many passages there are."""
        with self._reading() as connection:
            return read_counters(connection, self._connections.path).num_passages

    def keys(self) -> Iterator[int]:
        """Yields the keys of all passages, ascending. Streams; passages may change meanwhile."""
        after = 0
        sql = "SELECT key FROM passages WHERE key > ? ORDER BY key LIMIT ?"
        while rows := self._rows(sql, (after, _PAGE)):
            keys = self._ascending([key for (key,) in rows], after)
            yield from keys
            after = keys[-1]

    def changed_keys_since(self, change: int, limit: int) -> list[int] | None:
        """Returns keys put or deleted after a change; None if there are more than `limit`."""
        found: list[int] = []
        for table in ("passages", "deletions"):
            sql = f"SELECT key FROM {table} WHERE change > ? LIMIT ?"
            found += [key for (key,) in self._rows(sql, (change, limit + 1 - len(found)))]
        return None if len(found) > limit else found

    def changes_since(self, change: int) -> Iterator[TextChange]:
        """Yields texts put, and deletions, after a change; ascending.

        Damaged passages, and those whose text is not kept, are left out.
        """
        columns = "change, key, id, change, text_hash, checksum, metadata, text"

        def text_change(row: tuple[Any, ...]) -> TextChange | None:
            number, key, *rest = row
            passage = checked_passage(key, (key, *rest))
            if isinstance(passage, Damage) or passage.text is None:
                return None
            return TextChange(key, passage.text, number)

        puts = self._paged(f"SELECT {columns} FROM passages", "change", change, text_change)
        return self._with_deletions(puts, change, lambda key, at: TextChange(key, None, at))

    def vectors_since(self, change: int) -> Iterator[VectorChange]:
        """Yields vectors put, and deletions, after a change; ascending.

        Damaged vectors are left out.
        """
        columns = "p.change, p.key, v.text_hash, v.checksum, v.vector"

        def vector_change(row: tuple[Any, ...]) -> VectorChange | None:
            number, key, *rest = row
            vector = checked_vector(key, tuple(rest))
            return None if isinstance(vector, Damage) else VectorChange(key, vector, number)

        sql = f"SELECT {columns} FROM passages p JOIN vectors v ON v.key = p.key"
        puts = self._paged(sql, "p.change", change, vector_change)
        return self._with_deletions(puts, change, lambda key, at: VectorChange(key, None, at))

    def sample_texts(self, count: int) -> list[str]:
        """Returns up to `count` texts, evenly spread over the keys."""
        (largest,) = self._rows("SELECT coalesce(max(key), 0) FROM passages")[0]
        columns = "key, id, change, text_hash, checksum, metadata, text"
        sql = f"SELECT {columns} FROM passages WHERE key >= ? ORDER BY key LIMIT 1"
        step = max(1.0, largest / count)
        texts: dict[int, str] = {}
        position = 1.0
        while position <= largest:
            rows = self._rows(sql, (int(position),))
            if not rows:
                break
            passage = checked_passage(rows[0][0], rows[0])
            if not isinstance(passage, Damage) and passage.text is not None:
                texts[passage.key] = passage.text
            position = max(position + step, float(rows[0][0] + 1))
        return list(texts.values())

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Inside the block, this thread sees the store as it is now, whatever is written."""
        with self._reading():
            yield

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction for reading: one snapshot, and one lock for all its statements."""
        connection = self.reader()
        with translated(self._connections.path):
            if connection.in_transaction:  # inside another `_reading` of this thread
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                with suppress(sqlite3.Error):
                    connection.execute("COMMIT")
                if connection.in_transaction:  # or this thread would see this moment for ever
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")

    def _rows(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._reading() as connection:
            return connection.execute(sql, parameters).fetchall()

    def _paged(
        self,
        select: str,
        change_column: str,
        change: int,
        read: Callable[[tuple[Any, ...]], _Change | None],
    ) -> Iterator[_Change]:
        """Yields what `read` makes of rows whose first column is a change number."""
        sql = f"{select} WHERE {change_column} > ? ORDER BY {change_column} LIMIT ?"
        while rows := self._rows(sql, (change, _PAGE)):
            for row in rows:
                item = read(row)
                if item is not None:
                    yield item
            # What is no number is damaged, and comes after all numbers.
            numbers = [row[0] for row in rows if isinstance(row[0], int)]
            if len(self._ascending(numbers, change)) < len(rows):
                return
            change = numbers[-1]

    def _ascending(self, numbers: list[int], after: int) -> list[int]:
        """Returns the numbers if they are in order; a broken tree may lead in a circle."""
        if any(right <= left for left, right in pairwise([after, *numbers])):
            path = self._connections.path
            raise damage_error(path, [], ["its rows are not in the order of their numbers"])
        return numbers

    def _with_deletions(
        self, puts: Iterator[_Change], change: int, deletion: Callable[[int, int], _Change]
    ) -> Iterator[_Change]:
        if change <= 0:  # who has nothing yet need not be told what is gone
            return puts
        deletions = self._paged(
            "SELECT change, key, checksum FROM deletions",
            "change",
            change,
            lambda row: deletion(row[1], row[0]) if is_deletion(*row) else None,
        )
        return heapq.merge(puts, deletions, key=attrgetter("change"))
