"""Changes to a store inside one transaction: rows, their checksums, and the counters."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from kalm_reranker.store.checksums import (
    deletion_checksum,
    passage_checksum,
    states_checksum,
    vector_checksum,
)
from kalm_reranker.store.counters import (
    Counters,
    read_counters,
    recounted,
    remove_damaged_deletions,
    write_counters,
)
from kalm_reranker.store.damage import damage_error
from kalm_reranker.store.records import Damage, EncodedPassage
from kalm_reranker.store.sqlite_lookup import PASSAGE_COLUMNS, passage_named
from kalm_reranker.store.sqlite_rows import checked_passage

_DERIVED_TABLES = ("states", "vectors")


class StoreWriter:
    """Makes changes over a connection that is inside a transaction of its own.

    Args:
        connection: The writing connection, after BEGIN.
        path: The file, for messages.
        is_repair: Count everything anew, before and after, since damage is to be removed.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, *, is_repair: bool = False
    ) -> None:
        self._connection = connection
        self._path = path
        self._must_count = is_repair
        if is_repair:
            remove_damaged_deletions(connection)
        self._counters: Counters = (
            recounted(connection, path) if is_repair else read_counters(connection, path)
        )

    def put(self, passages: Sequence[EncodedPassage]) -> int:
        """Stores passages, replacing those whose id exists; returns how many."""
        for passage in passages:
            self._put(passage)
        return self._finish(len(passages))

    def set_metadata(self, metadata: Sequence[tuple[int, str | None]]) -> int:
        """Replaces the metadata of passages, by key; returns how many there were.

        Raises:
            DamagedStoreError: One is damaged; a new checksum would make that look right.
        """
        count = 0
        sql = f"SELECT {PASSAGE_COLUMNS} FROM passages WHERE key = ?"
        for key, value in metadata:
            row = self._connection.execute(sql, (key,)).fetchone()
            if row is None:
                continue
            passage = checked_passage(key, row)
            if isinstance(passage, Damage):
                raise damage_error(self._path, [passage])
            change = self._next_change()
            written = None if value is None else value.encode("utf-8")
            text = None if passage.text is None else passage.text.encode("utf-8")
            checksum = passage_checksum(
                key, change, passage.id.encode("utf-8"), passage.text_hash, written, text
            )
            self._connection.execute(
                "UPDATE passages SET change = ?, checksum = ?, metadata = ? WHERE key = ?",
                (change, checksum, value, key),
            )
            count += 1
        return self._finish(count)

    def delete_ids(self, ids: Sequence[str]) -> int:
        """Deletes passages by id; returns how many there were."""
        found = [passage_named(self._connection, name, self._path) for name in dict.fromkeys(ids)]
        return self.delete_keys([item[0] for item in found if item is not None])

    def delete_keys(self, keys: Sequence[int]) -> int:
        """Deletes passages by key, states without a passage included; returns how many."""
        deleted = 0
        for key in dict.fromkeys(keys):
            self._discount(key)
            removed = self._connection.execute(
                "DELETE FROM passages WHERE key = ?", (key,)
            ).rowcount
            for table in _DERIVED_TABLES:
                self._connection.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
            change = self._next_change()
            self._connection.execute(
                "INSERT INTO deletions (change, key, checksum) VALUES (?, ?, ?)",
                (change, key, deletion_checksum(change, key)),
            )
            deleted += removed
        self._counters.num_passages -= deleted
        return self._finish(deleted)

    def _put(self, passage: EncodedPassage) -> None:
        execute = self._connection.execute
        known = passage_named(self._connection, passage.id, self._path)
        change = self._next_change()
        if known is None:
            key = self._counters.next_key
            self._counters.next_key += 1
            self._counters.num_passages += 1
            # Fails where the key is taken: then the counters are wrong, and nothing is lost.
            sql = (
                "INSERT INTO passages (id, change, text_hash, checksum, metadata, text, key)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)"
            )
        else:
            key = known[0]
            self._discount(key)
            sql = (
                "UPDATE passages SET id = ?, change = ?, text_hash = ?, checksum = ?,"
                " metadata = ?, text = ? WHERE key = ?"
            )
        name, hashed = passage.id.encode("utf-8"), passage.text_hash
        metadata = None if passage.metadata is None else passage.metadata.encode("utf-8")
        text = None if passage.text is None else passage.text.encode("utf-8")
        checksum = passage_checksum(key, change, name, hashed, metadata, text)
        execute(sql, (passage.id, change, hashed, checksum, passage.metadata, passage.text, key))
        checksum = states_checksum(
            key, passage.token_count, passage.truncated, hashed, passage.slots
        )
        execute(
            "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?, ?)",
            (key, passage.token_count, passage.truncated, hashed, checksum, passage.slots),
        )
        if passage.vector is not None:
            checksum = vector_checksum(key, hashed, passage.vector)
            execute(
                "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)",
                (key, hashed, checksum, passage.vector),
            )
        self._counters.num_tokens += passage.token_count
        self._counters.num_truncated += passage.truncated

    def _discount(self, key: int) -> None:
        """Takes the states that are about to go out of the counters."""
        row = self._connection.execute(
            "SELECT token_count, truncated FROM states WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return
        if all(isinstance(value, int) for value in row):
            self._counters.num_tokens -= row[0]
            self._counters.num_truncated -= row[1]
        else:
            self._must_count = True

    def _next_change(self) -> int:
        self._counters.last_change += 1
        return self._counters.last_change

    def _finish(self, count: int) -> int:
        counters = self._counters
        # Damaged counts of a passage that is gone now took more than they had brought.
        counts = (counters.num_passages, counters.num_tokens, counters.num_truncated)
        if self._must_count or min(counts) < 0:
            now = recounted(self._connection, self._path)
            now.next_key = max(now.next_key, counters.next_key)
            now.last_change = max(now.last_change, counters.last_change)
            counters = now
        write_counters(self._connection, counters)
        return count
