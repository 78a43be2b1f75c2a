"""Changes to a store inside one transaction: rows, their checksums, and the counters."""

import sqlite3
from collections.abc import Sequence

from kalm_reranker.store.checksums import passage_checksum, states_checksum, vector_checksum
from kalm_reranker.store.records import EncodedPassage

_UPSERT_PASSAGE = (
    "INSERT INTO passages (key, id, change, text_hash, checksum, metadata, text)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET change = excluded.change, text_hash = excluded.text_hash,"
    " checksum = excluded.checksum, metadata = excluded.metadata, text = excluded.text"
)
_DERIVED_TABLES = ("states", "vectors")


class StoreWriter:
    """Makes changes over a connection that is inside a transaction of its own.

    Args:
        connection: The writing connection, after BEGIN.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        counters: tuple[int, ...] = connection.execute(
            "SELECT next_key, last_change, num_passages, num_tokens, num_truncated FROM counters"
        ).fetchone()
        self._next_key, self._change, self._passages, self._tokens, self._truncated = counters

    def put(self, passages: Sequence[EncodedPassage]) -> int:
        """Stores passages, replacing those whose id exists; returns how many."""
        for passage in passages:
            self._put(passage)
        return self._finish(len(passages))

    def set_metadata(self, metadata: Sequence[tuple[int, str | None]]) -> int:
        """Replaces the metadata of passages, by key; returns how many there were."""
        count = 0
        for key, value in metadata:
            row = self._connection.execute(
                "SELECT id, text_hash, text FROM passages WHERE key = ?", (key,)
            ).fetchone()
            if row is None:
                continue
            name, hashed, text = row
            written = None if value is None else value.encode("utf-8")
            checksum = passage_checksum(key, self._next_change(), name, hashed, written, text)
            self._connection.execute(
                "UPDATE passages SET change = ?, checksum = ?, metadata = ? WHERE key = ?",
                (self._change, checksum, value, key),
            )
            count += 1
        return self._finish(count)

    def delete_ids(self, ids: Sequence[str]) -> int:
        """Deletes passages by id; returns how many there were."""
        sql = "SELECT key FROM passages WHERE id = ?"
        rows = [self._connection.execute(sql, (name,)).fetchone() for name in dict.fromkeys(ids)]
        return self.delete_keys([row[0] for row in rows if row is not None])

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
            self._connection.execute(
                "INSERT INTO deletions (change, key) VALUES (?, ?)", (self._next_change(), key)
            )
            deleted += removed
        self._passages -= deleted
        return self._finish(deleted)

    def _put(self, passage: EncodedPassage) -> None:
        execute = self._connection.execute
        row = execute("SELECT key FROM passages WHERE id = ?", (passage.id,)).fetchone()
        if row is None:
            key = self._next_key
            self._next_key += 1
            self._passages += 1
        else:
            key = row[0]
            self._discount(key)
        change = self._next_change()
        name, hashed = passage.id.encode("utf-8"), passage.text_hash
        metadata = None if passage.metadata is None else passage.metadata.encode("utf-8")
        text = None if passage.text is None else passage.text.encode("utf-8")
        checksum = passage_checksum(key, change, name, hashed, metadata, text)
        execute(
            _UPSERT_PASSAGE,
            (key, passage.id, change, hashed, checksum, passage.metadata, passage.text),
        )
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
        self._tokens += passage.token_count
        self._truncated += passage.truncated

    def _discount(self, key: int) -> None:
        """Takes the states that are about to go out of the counters."""
        row = self._connection.execute(
            "SELECT token_count, truncated FROM states WHERE key = ?", (key,)
        ).fetchone()
        if row is not None:
            self._tokens -= row[0]
            self._truncated -= row[1]

    def _next_change(self) -> int:
        self._change += 1
        return self._change

    def _finish(self, count: int) -> int:
        self._connection.execute(
            "UPDATE counters SET next_key = ?, last_change = ?, num_passages = ?, num_tokens = ?,"
            " num_truncated = ?",
            (self._next_key, self._change, self._passages, self._tokens, self._truncated),
        )
        return count
