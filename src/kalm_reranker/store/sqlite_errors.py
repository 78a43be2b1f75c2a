"""SQLite's errors as the errors of this package."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from kalm_reranker.errors import (
    DamagedStoreError,
    InvalidStoreError,
    KalmRerankerError,
    StoreBusyError,
    StoreError,
    StoreWriteError,
)

_PRIMARY = 0xFF  # the low byte of a result code is the kind of the error
_DAMAGE_HINT = "Restore a copy, or build the index again in another folder. Look at the disk, too."
_WRITE_PROBLEMS = {
    sqlite3.SQLITE_FULL: (
        "the disk is full",
        "Free some space and run the same command again; what was committed is kept.",
    ),
    sqlite3.SQLITE_READONLY: (
        "the file or its folder is read-only",
        "Check the permissions, or copy the index to a folder you can write to.",
    ),
    sqlite3.SQLITE_IOERR: (
        "the file system reported an input/output error",
        "Look at the disk; what was committed before is kept.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "a file beside it could not be opened",
        "Check that the folder exists and that you may write to it.",
    ),
}


@contextlib.contextmanager
def translated(path: Path, *, writing: bool = False) -> Iterator[None]:
    """Turns SQLite's errors inside the block into typed ones that name the file.

    Raises:
        StoreBusyError: Another connection holds a lock for too long.
        StoreWriteError: Writing failed: full disk, read-only, I/O error.
        InvalidStoreError: It is no SQLite file.
        DamagedStoreError: The file's structure is broken.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        # A message of SQLite's that quotes a damaged schema.
        raise DamagedStoreError(
            f"{path} is damaged: its schema is no text.", hint=_DAMAGE_HINT
        ) from error
    except sqlite3.Error as error:
        raise typed(error, path, writing=writing) from error


def typed(error: sqlite3.Error, path: Path, *, writing: bool) -> KalmRerankerError:
    """Returns the typed error for one of SQLite's."""
    kind = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & _PRIMARY
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusyError(
            f"{path} is locked by another process: {error}.",
            hint="Wait until it has finished, and try again.",
        )
    if kind in _WRITE_PROBLEMS and (
        writing or kind in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)
    ):
        reason, hint = _WRITE_PROBLEMS[kind]
        return StoreWriteError(f"{path} cannot be written: {reason} ({error}).", hint=hint)
    if kind == sqlite3.SQLITE_CANTOPEN:
        return StoreError(
            f"{path} cannot be opened: {error}.",
            hint="Check that you may read it and the files beside it.",
        )
    if kind == sqlite3.SQLITE_IOERR:
        return StoreError(
            f"{path} cannot be read: {error}.", hint="Look at the disk, or restore a copy."
        )
    if kind == sqlite3.SQLITE_NOTADB:
        return InvalidStoreError(
            f"{path} is no SQLite file, or its first bytes are damaged.",
            hint="Restore a copy, or build the index again in another folder.",
        )
    return DamagedStoreError(
        f"{path} is damaged: {error}.",
        hint=_DAMAGE_HINT,
    )
