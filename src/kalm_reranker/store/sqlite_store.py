"""The default store: one SQLite file in WAL mode. See docs/store-format.md.

SQLite gives transactions, replacement, deletion, and readers that a writer does not disturb, in the
most widely tested database file there is. This file holds what is read and written; checking all of
it is `sqlite_verify.py`.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from kalm_reranker.errors import (
    DamagedStoreError,
    InvalidStoreError,
    KalmRerankerError,
    StoreBusyError,
    StoreExistsError,
    StoreNotFoundError,
    StoreWriteError,
)
from kalm_reranker.store.checksums import bytes_checksum
from kalm_reranker.store.connections import Connections
from kalm_reranker.store.counters import read_counters
from kalm_reranker.store.header import StoreHeader
from kalm_reranker.store.passage import metadata_json
from kalm_reranker.store.protocol import PassagesRead, StatesRead
from kalm_reranker.store.records import (
    Damage,
    EncodedPassage,
    KnownPassage,
    StoreCounts,
    StoredPassage,
    StoredStates,
    VerifyReport,
)
from kalm_reranker.store.schema import configure, create_tables
from kalm_reranker.store.sqlite_errors import translated
from kalm_reranker.store.sqlite_feed import SQLiteFeed
from kalm_reranker.store.sqlite_lookup import PASSAGE_COLUMNS, passage_named
from kalm_reranker.store.sqlite_rows import checked_passage, checked_states
from kalm_reranker.store.sqlite_verify import verify_store
from kalm_reranker.store.sqlite_write import StoreWriter
from kalm_reranker.store.writer_lock import WriterLock

STORE_FILE = "passages.sqlite"
_LOCK_FILE = "writer.lock"
# How long a single put or delete waits for another writer. Long jobs hold the lock themselves.
_WAIT_S = 10.0
_PASSAGES_AT_ONCE = 256


class SQLiteStore(SQLiteFeed):
    """A store in a folder. Opening reads the header; connections are made as they are needed.

    Args:
        folder: Where `create` made it; the folder may be read-only, then nothing can be written.

    Raises:
        StoreNotFoundError: There is none.
        InvalidStoreError: The file is no store, or of another format version.
        DamagedStoreError: The header is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(Connections(folder / STORE_FILE))
        self._folder = folder
        self._lock = WriterLock(folder / _LOCK_FILE)
        self._file: tuple[int, int] | None = None  # device and inode, while it is open
        try:
            self._header = self._read_header()
            self._check_still_there()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, folder: Path, header: StoreHeader) -> "SQLiteStore":
        """Makes an empty store in a folder, which is made where it is missing.

        Raises:
            StoreExistsError: There is one already.
            StoreWriteError: The folder cannot be written.
        """
        path = folder / STORE_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreWriteError(
                f"{folder} cannot be made: {error.strerror or error}.",
                hint="Check the path and its permissions.",
            ) from error
        lock = WriterLock(folder / _LOCK_FILE)
        with lock.held(wait_s=0):
            if path.exists():
                raise StoreExistsError(
                    f"There is an index in {folder} already.",
                    hint="Add to it, or choose another folder.",
                )
            _create_file(path, header)
        return cls(folder)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "SQLiteStore":
        """Opens the store in a folder; see the class."""
        return cls(Path(folder))

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self._connections.path

    @property
    def header(self) -> StoreHeader:
        """What the store says of itself."""
        return self._header

    @property
    def store_id(self) -> str:
        """The store's random name, for life."""
        return self._header.store_id

    @cached_property
    def slot_bytes(self) -> int:
        """Bytes of a slot in the store's codec."""
        from kalm_reranker.store.codecs import codec_named  # here, because it imports torch

        return codec_named(self._header.codec).slot_bytes(self._header.width)

    def keys_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Returns the keys of the ids that exist."""
        with self._reading() as connection:
            found = ((name, passage_named(connection, name, self.path)) for name in ids)
            return {name: passage[0] for name, passage in found if passage is not None}

    def known(self, ids: Sequence[str]) -> dict[str, KnownPassage]:
        """Returns what an add needs to know of the ids that exist.

        A damaged passage is known by no text, so that adding it again replaces it.
        """
        known: dict[str, KnownPassage] = {}
        with self._reading() as connection:
            for name in ids:
                found = passage_named(connection, name, self.path)
                if found is None:
                    continue
                key, passage = found
                if isinstance(passage, Damage):
                    known[name] = KnownPassage(key, b"", None)
                else:
                    metadata = metadata_json(passage.metadata, "stored")
                    known[name] = KnownPassage(key, passage.text_hash, metadata)
        return known

    def read_states(self, keys: Sequence[int]) -> StatesRead:
        """Reads and checks the states of passages, in one snapshot."""
        found: dict[int, StoredStates] = {}
        missing: list[int] = []
        damaged: list[Damage] = []
        slot_bytes, ratio = self.slot_bytes, self._header.compression_ratio
        sql = (
            "SELECT key, token_count, truncated, text_hash, checksum, slots"
            " FROM states WHERE key = ?"
        )
        with self._reading() as connection:
            for key in sorted(set(keys)):  # in file order
                row = _row_or_damage(connection, sql, key)
                states = (
                    row
                    if row is None or isinstance(row, Damage)
                    else checked_states(key, row, ratio=ratio, slot_bytes=slot_bytes)
                )
                if states is None:
                    missing.append(key)
                elif isinstance(states, Damage):
                    damaged.append(states)
                else:
                    found[key] = states
        return StatesRead(found, tuple(missing), tuple(damaged))

    def token_counts(self, keys: Sequence[int]) -> list[int]:
        """Returns the tokens of each passage, unchecked; 0 for one that cannot be read."""
        sql = "SELECT token_count FROM states WHERE key = ?"
        with self._reading() as connection:
            rows = [_row_or_damage(connection, sql, key) for key in keys]
        counts = [row[0] if isinstance(row, tuple) else 0 for row in rows]
        return [count if isinstance(count, int) else 0 for count in counts]

    def read_passages(self, keys: Sequence[int]) -> PassagesRead:
        """Reads and checks ids, texts and metadata of passages, in one snapshot."""
        found: dict[int, StoredPassage] = {}
        missing: list[int] = []
        damaged: list[Damage] = []
        sql = f"SELECT {PASSAGE_COLUMNS} FROM passages WHERE key = ?"
        with self._reading() as connection:
            for key in sorted(set(keys)):
                row = _row_or_damage(connection, sql, key)
                passage = (
                    row if row is None or isinstance(row, Damage) else checked_passage(key, row)
                )
                if passage is None:
                    missing.append(key)
                elif isinstance(passage, Damage):
                    damaged.append(passage)
                else:
                    found[key] = passage
        return PassagesRead(found, tuple(missing), tuple(damaged))

    def all_passages(self) -> Iterator[PassagesRead]:
        """Yields all passages, some at a time, in the order of their keys."""
        keys = self.keys()
        while block := list(islice(keys, _PASSAGES_AT_ONCE)):
            yield self.read_passages(block)

    def put_many(self, passages: Sequence[EncodedPassage]) -> None:
        """Stores passages, replacing those whose id exists; durable when it returns."""
        self._write(lambda writer: writer.put(passages))

    def set_metadata(self, metadata: Sequence[tuple[int, str | None]]) -> None:
        """Replaces the metadata of passages, by key."""
        self._write(lambda writer: writer.set_metadata(metadata))

    def delete(self, ids: Sequence[str]) -> int:
        """Deletes passages and returns how many there were."""
        return self._write(lambda writer: writer.delete_ids(ids))

    def delete_keys(self, keys: Sequence[int]) -> int:
        """Deletes passages by key, also such as are too damaged to have an id; counts again."""
        return self._write(lambda writer: writer.delete_keys(keys), is_repair=True)

    @contextmanager
    def writing(self, *, wait_s: float = 0.0) -> Iterator[None]:
        """Holds the writer lock inside the block.

        Raises:
            StoreBusyError: Another process or thread holds it for longer than `wait_s`.
            StoreWriteError: The folder cannot be written.
            StoreNotFoundError: The file was deleted or replaced since it was opened.
        """
        with self._lock.held(wait_s=wait_s):
            self._check_still_there()
            yield

    def counts(self) -> StoreCounts:
        """Returns how much is stored."""
        with self._reading() as connection:
            counters = read_counters(connection, self.path)
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
            (free_pages,) = connection.execute("PRAGMA freelist_count").fetchone()
        file_bytes = 0
        for path in (self.path, self.path.with_name(f"{STORE_FILE}-wal")):
            with suppress(OSError):
                file_bytes += path.stat().st_size
        return StoreCounts(
            num_passages=counters.num_passages,
            num_tokens=counters.num_tokens,
            num_truncated=counters.num_truncated,
            last_change=counters.last_change,
            file_bytes=file_bytes,
            free_bytes=free_pages * page_bytes,
        )

    def verify(self, on_progress: Callable[[int], None] = lambda count: None) -> VerifyReport:
        """Reads every record and checks it; never changes anything.

        Args:
            on_progress: Called now and then with the number of keys looked at since.
        """
        # In one snapshot: what a writer does meanwhile must not look like damage.
        with self._reading():
            return verify_store(self, on_progress)

    def compact(self) -> None:
        """Rewrites the file without its free pages, and folds the write-ahead log in.

        Needs free disk space of the size of the compacted file. A crash in the middle changes
        nothing.

        Raises:
            StoreBusyError: Another writer, or a reader that does not end.
            StoreWriteError: The disk is full or cannot be written.
        """
        with self.writing(wait_s=_WAIT_S):
            writer = self._connections.writer()
            with translated(self.path, writing=True):
                writer.execute("VACUUM")
                (is_busy, *_) = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if is_busy:
                raise StoreBusyError(
                    f"{self.path} was compacted, but a reader that does not end keeps the space.",
                    hint="Compact again when nobody reads, or just close the index then.",
                )

    def close(self) -> None:
        """Closes all files. Using the store afterwards opens them again."""
        self._connections.close()
        self._file = None

    def _check_still_there(self) -> None:
        """Refuses to write into a file that has no name any more: all of it would be lost."""
        try:
            status = self.path.stat()
        except OSError:
            status = None
        file = None if status is None else (status.st_dev, status.st_ino)
        if self._file is None:
            self._file = file
        if file is None or file != self._file:
            raise StoreNotFoundError(
                f"{self.path} was deleted or replaced since it was opened.",
                hint="Open the index again.",
            )

    def _write(self, change: Callable[[StoreWriter], int], *, is_repair: bool = False) -> int:
        with self.writing(wait_s=_WAIT_S):
            connection = self._connections.writer()
            with translated(self.path, writing=True):
                connection.execute("BEGIN IMMEDIATE")
                try:
                    result = change(StoreWriter(connection, self.path, is_repair=is_repair))
                    connection.execute("COMMIT")
                except BaseException:
                    # A full disk may have ended the transaction already.
                    if connection.in_transaction:
                        with suppress(sqlite3.Error):
                            connection.execute("ROLLBACK")
                    raise
        return result

    def _read_header(self) -> StoreHeader:
        with self._reading() as connection:
            row = connection.execute(
                "SELECT value, checksum FROM meta WHERE name = 'header'"
            ).fetchone()
        if row is None:
            raise InvalidStoreError(f"{self.path} has no header.")
        value, checksum = row
        if not isinstance(value, bytes) or bytes_checksum(value) != checksum:
            raise DamagedStoreError(
                f"{self.path}: the header is damaged (its checksum does not match).",
                hint="Restore a copy, or build the index again in another folder.",
            )
        return StoreHeader.from_json(value.decode("utf-8"), str(self.path))


def _create_file(path: Path, header: StoreHeader) -> None:
    """Writes a new file under another name first: a crash leaves no half of a store."""
    unfinished = path.with_name(f"{path.name}.new")
    try:
        _remove_unfinished(unfinished)
        with translated(path, writing=True):
            _write_file(unfinished, header.to_json().encode("utf-8"))
        unfinished.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, KalmRerankerError):
            raise
        raise StoreWriteError(
            f"{path} cannot be made: {error.strerror or error}.",
            hint="Check the permissions and the free space.",
        ) from error
    finally:
        with suppress(OSError):
            _remove_unfinished(unfinished)


def _write_file(path: Path, header: bytes) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        create_tables(connection)
        configure(connection, writable=True)
        connection.execute(
            "INSERT INTO meta VALUES ('header', ?, ?)", (header, bytes_checksum(header))
        )
        # Closing would do it as well, but without a word where the disk is full.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()


def _remove_unfinished(path: Path) -> None:
    for leftover in path.parent.glob(f"{path.name}*"):
        leftover.unlink()


def _sync_folder(folder: Path) -> None:
    """Makes the new file's name durable, where the system can do that."""
    with suppress(OSError):  # Windows opens no directories
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _row_or_damage(
    connection: sqlite3.Connection, sql: str, key: int
) -> tuple[Any, ...] | Damage | None:
    """Returns the row of a key; damage where the file's structure does not lead to it."""
    try:
        row: tuple[Any, ...] | None = connection.execute(sql, (key,)).fetchone()
    except sqlite3.DatabaseError as error:
        kind = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        return Damage(key, None, f"cannot be read: {error}")
    return row
