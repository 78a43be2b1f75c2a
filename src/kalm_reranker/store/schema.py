"""The tables of a store, and the pragmas it is opened with. docs/store-format.md explains them."""

import functools
import sqlite3
from typing import Any

from kalm_reranker.store.counters import Counters, write_counters
from kalm_reranker.store.header import FORMAT_VERSION

APPLICATION_ID = 0x4B614C4D  # "KaLM"

# States have a table of their own: rows of 100 kB between them would make every scan of ids,
# texts or metadata read the whole file.
_TABLES = """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    checksum BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE counters (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    next_key INTEGER NOT NULL,
    last_change INTEGER NOT NULL,
    num_passages INTEGER NOT NULL,
    num_tokens INTEGER NOT NULL,
    num_truncated INTEGER NOT NULL,
    checksum BLOB NOT NULL
);
CREATE TABLE passages (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    change INTEGER NOT NULL,
    text_hash BLOB NOT NULL,
    checksum BLOB NOT NULL,
    metadata TEXT,
    text TEXT
);
CREATE UNIQUE INDEX passages_by_change ON passages (change);
CREATE TABLE states (
    key INTEGER PRIMARY KEY,
    token_count INTEGER NOT NULL,
    truncated INTEGER NOT NULL,
    text_hash BLOB NOT NULL,
    checksum BLOB NOT NULL,
    slots BLOB NOT NULL
);
CREATE TABLE vectors (
    key INTEGER PRIMARY KEY,
    text_hash BLOB NOT NULL,
    checksum BLOB NOT NULL,
    vector BLOB NOT NULL
);
CREATE TABLE deletions (
    change INTEGER PRIMARY KEY,
    key INTEGER NOT NULL,
    checksum BLOB NOT NULL
);
"""

_PAGE_BYTES = 16_384  # a passage's states in few pages, and rows of text without much waste
_WAL_KEPT_BYTES = 64 * 2**20
_CACHE_KIB = 16 * 1024  # per connection
_BUSY_TIMEOUT_MS = 10_000


def create_tables(connection: sqlite3.Connection) -> None:
    """Makes an empty database a store without a header."""
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    connection.executescript(_TABLES)
    write_counters(connection, Counters())


def schema_of(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """Returns all that a database file says of its tables, indices, views and triggers."""
    sql = "SELECT type, name, tbl_name, CAST(sql AS BLOB) FROM sqlite_schema ORDER BY type, name"
    # Text is bytes or not, as the connection has it.
    return [
        tuple(part.decode("utf-8", "replace") if isinstance(part, bytes) else part for part in row)
        for row in connection.execute(sql)
    ]


@functools.cache
def expected_schema() -> list[tuple[Any, ...]]:
    """Returns what `schema_of` gives for a store that is as it was made."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(_TABLES)
        return schema_of(connection)
    finally:
        connection.close()


def configure(connection: sqlite3.Connection, *, writable: bool) -> None:
    """Sets what every connection needs. Text comes as bytes: it is checked before it is decoded."""
    connection.text_factory = bytes
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    # The file may come from anywhere: nothing in its schema may run, no cell is trusted.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    # A mapped file that is cut would crash the process where a read call gives an error.
    connection.execute("PRAGMA mmap_size = 0")
    if writable:
        connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    else:
        connection.execute("PRAGMA query_only = ON")
