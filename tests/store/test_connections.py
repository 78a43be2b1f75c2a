"""What can be opened as a store, and what is said of the rest."""

import os
import sqlite3
import threading

import pytest

from kalm_reranker.errors import (
    DamagedStoreError,
    InvalidStoreError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
    StoreWriteError,
)
from kalm_reranker.store.sqlite_store import STORE_FILE, SQLiteStore
from tests.store.headers import a_header


def test_where_there_is_none(tmp_path):
    for folder in (tmp_path, tmp_path / "none", str(tmp_path / "none"), "nul\0inside", "x" * 5000):
        with pytest.raises(StoreNotFoundError, match=r"There is no index in .* Hint: Make one"):
            SQLiteStore.open(folder)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", InvalidStoreError, "is empty"),
        (b"x", InvalidStoreError, "no store of passage states"),
        (b"PK\x03\x04" * 5000, InvalidStoreError, "is no SQLite file"),
        (b"SQLite format 3\0", StoreError, "is no SQLite file|is damaged|expected 0x"),
    ],
)
def test_files_that_are_no_store(tmp_path, content, error, message):
    (tmp_path / STORE_FILE).write_bytes(content)
    with pytest.raises(error, match=message):
        SQLiteStore(tmp_path)
    assert (tmp_path / STORE_FILE).read_bytes() == content


def test_another_programs_database(tmp_path):
    connection = sqlite3.connect(tmp_path / STORE_FILE)
    connection.execute("CREATE TABLE passages (key)")
    connection.commit()
    connection.close()
    with pytest.raises(InvalidStoreError, match="no store of passage states"):
        SQLiteStore(tmp_path)


def test_a_folder_in_the_files_place(tmp_path):
    (tmp_path / STORE_FILE).mkdir()
    with pytest.raises(StoreError, match=r"cannot be (opened|read)"):
        SQLiteStore(tmp_path)


def alter(store, *statements):
    store.close()
    connection = sqlite3.connect(store.path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statement", "error", "message"),
    [
        ("PRAGMA user_version = 2", InvalidStoreError, "format version 2; this release reads 1"),
        ("PRAGMA application_id = 5", InvalidStoreError, "application id 0x00000005"),
        ("DELETE FROM meta", InvalidStoreError, "has no header"),
        ("UPDATE meta SET value = value || ' '", DamagedStoreError, "the header is damaged"),
        ("UPDATE meta SET value = 5", DamagedStoreError, "the header is damaged"),
        ("CREATE VIEW v AS SELECT 1", DamagedStoreError, "its tables are not those"),
        ("DROP TABLE vectors", DamagedStoreError, "its tables are not those"),
        ("DROP INDEX passages_by_change", DamagedStoreError, "its tables are not those"),
    ],
)
def test_a_store_of_another_kind(store, statement, error, message):
    alter(store, statement)
    with pytest.raises(error, match=message):
        SQLiteStore(store.path.parent)


def test_there_is_never_a_second_store_in_a_folder(store, tmp_path):
    with pytest.raises(StoreExistsError, match="There is an index in"):
        SQLiteStore.create(store.path.parent, a_header())
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreWriteError, match="cannot be made"):
        SQLiteStore.create(tmp_path / "file" / "below", a_header())
    (tmp_path / "taken" / STORE_FILE).mkdir(parents=True)
    with pytest.raises(StoreExistsError):
        SQLiteStore.create(tmp_path / "taken", a_header())


def test_what_an_unfinished_creation_left_is_removed(tmp_path):
    for name in (".new", ".new-wal", ".new-shm", ".new-journal"):
        (tmp_path / f"{STORE_FILE}{name}").write_bytes(b"half")
    SQLiteStore.create(tmp_path, a_header()).close()
    assert not [path.name for path in tmp_path.iterdir() if ".new" in path.name]


def test_closing_folds_the_log_into_the_file_whoever_read_last(store, passage):
    store.put_many([passage("a")])
    thread = threading.Thread(target=store.num_passages)  # opened after the writer's
    thread.start()
    thread.join()
    assert store.path.with_name(f"{STORE_FILE}-wal").exists()
    store.close()
    assert not store.path.with_name(f"{STORE_FILE}-wal").exists()
    assert store.num_passages() == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_fork_uses_none_of_its_parents_connections_and_closes_none(store, passage):
    """SQLite: "do not open a database, then fork, then use it in the child"."""
    store.put_many([passage("a")])
    parents = [store.reader(), store._connections.writer()]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            own = [store.reader(), store._connections.writer()]
            store.close()
            store.close()
            for connection in parents:
                connection.execute("PRAGMA user_version")  # raises if it was closed
            status = int(any(connection in parents for connection in own))
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [store.reader(), store._connections.writer()] == parents


def test_reading_connections_cannot_write(store):
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        store.reader().execute("DELETE FROM passages")
