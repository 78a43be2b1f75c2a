"""Connections to one SQLite file: a reading one for each thread, one for the writer."""

import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

from kalm_reranker.errors import (
    DamagedStoreError,
    InvalidStoreError,
    StoreError,
    StoreNotFoundError,
)
from kalm_reranker.store.header import FORMAT_VERSION
from kalm_reranker.store.schema import APPLICATION_ID, configure, expected_schema, schema_of
from kalm_reranker.store.sqlite_errors import translated

# Connections of a parent process: closing one in a child would release or remove files that
# the parent still uses, so they are kept, and never touched again.
_INHERITED: list[sqlite3.Connection] = []


class Connections:
    """Opens connections when they are first needed, and closes them all together.

    Args:
        path: The SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._local = threading.local()
        self._readers: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._writer: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._generation = 0

    def reader(self) -> sqlite3.Connection:
        """Returns this thread's reading connection.

        Raises:
            StoreNotFoundError: There is no file.
            InvalidStoreError: The file is no store, or of another version.
            StoreError: The file cannot be opened.
        """
        self._forget_after_fork()
        found: tuple[int, sqlite3.Connection] | None = getattr(self._local, "reader", None)
        if found is not None and found[0] == self._generation:
            return found[1]
        connection = _open_for_reading(self.path)
        with self._lock:
            self._close_those_of_ended_threads()
            self._readers.append((threading.current_thread(), connection))
            self._local.reader = (self._generation, connection)
        return connection

    def writer(self) -> sqlite3.Connection:
        """Returns the writing connection; only the holder of the writer lock may use it.

        Raises:
            StoreNotFoundError: There is no file.
            InvalidStoreError: The file is no store, or of another version.
            StoreWriteError: The file cannot be written.
        """
        self._forget_after_fork()
        if self._writer is None:
            _check_file(self.path)
            with translated(self.path, writing=True):
                connection = _connect(self.path, "mode=rw")
                try:
                    configure(connection, writable=True)
                    _check_version(connection, self.path)
                except BaseException:
                    connection.close()
                    raise
            self._writer = connection
        return self._writer

    def close(self) -> None:
        """Closes every connection; later calls open new ones."""
        self._forget_after_fork()
        with self._lock:
            connections = [connection for _, connection in self._readers]
            if self._writer is not None:
                # Last, so that it folds the log into the file; a reading one could not.
                connections.append(self._writer)
            self._readers, self._writer = [], None
            self._generation += 1
        for connection in connections:
            with suppress(sqlite3.Error):
                connection.close()

    def _close_those_of_ended_threads(self) -> None:
        """A server that starts a thread for each request would run out of open files."""
        alive = []
        for thread, connection in self._readers:
            if thread.is_alive():
                alive.append((thread, connection))
            else:
                with suppress(sqlite3.Error):
                    connection.close()
        self._readers = alive

    def _forget_after_fork(self) -> None:
        if self._pid == os.getpid():
            return
        _INHERITED.extend(connection for _, connection in self._readers)
        if self._writer is not None:
            _INHERITED.append(self._writer)
        self._readers, self._writer = [], None
        self._generation += 1
        self._lock = threading.Lock()
        self._pid = os.getpid()


def _connect(path: Path, parameters: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{parameters}"
    with translated(path):
        return sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=64
        )


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except NotADirectoryError as error:
        raise StoreNotFoundError(
            f"{path.parent} is no folder; an index is a folder that holds {path.name}.",
            hint="Name the folder, or another one to make an index in.",
        ) from error
    except (OSError, ValueError) as error:  # the latter for a NUL in the path
        raise StoreNotFoundError(
            f"There is no index in {path.parent}: {path.name} is missing.",
            hint=f"Make one: kalm index create {path.parent}",
        ) from error
    if size == 0:
        # SQLite takes an empty file for an empty database.
        raise InvalidStoreError(
            f"{path} is empty: it was cut off, or never was a store.",
            hint="Restore a copy, or build the index again in another folder.",
        )


def _open_for_reading(path: Path) -> sqlite3.Connection:
    _check_file(path)
    log = path.with_name(f"{path.name}-wal")
    # A folder that cannot be written allows no shared memory beside the file; without a log to
    # read, the file alone is the whole truth, and nobody can change it.
    alternatives = ["mode=ro"]
    if not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size):
        alternatives.append("mode=ro&immutable=1")
    for parameters in alternatives:
        connection = _connect(path, parameters)
        try:
            with translated(path):
                configure(connection, writable=False)
                _check_version(connection, path)
        except StoreError:
            connection.close()
            if parameters == alternatives[-1]:
                raise
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise AssertionError("the loop returns or raises")


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise InvalidStoreError(
            f"{path} is an SQLite file, but no store of passage states (application id "
            f"{application_id:#010x}, expected {APPLICATION_ID:#010x}).",
        )
    if version != FORMAT_VERSION:
        raise InvalidStoreError(
            f"{path} has format version {version}; this release reads {FORMAT_VERSION}.",
            hint="Use the release that wrote it, or build the index again with this one.",
        )
    # Also what no flipped bit does: a trigger in a file from elsewhere would run with our writes.
    if schema_of(connection) != expected_schema():
        raise DamagedStoreError(
            f"{path} is damaged: its tables are not those that a store is made with.",
            hint="Restore a copy, or build the index again in another folder.",
        )
