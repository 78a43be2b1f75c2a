"""One writer at a time, among threads and among those who opened the folder anew."""

import threading
import time

import pytest

from kalm_reranker.errors import StoreBusyError, StoreWriteError
from kalm_reranker.store.sqlite_store import SQLiteStore
from kalm_reranker.store.writer_lock import WriterLock


def test_the_holder_may_take_it_again(tmp_path):
    lock, other = WriterLock(tmp_path / "lock"), WriterLock(tmp_path / "lock")
    with lock.held(wait_s=0):
        with lock.held(wait_s=0):
            pass
        with pytest.raises(StoreBusyError, match="by another process"), other.held(wait_s=0):
            pass
    with other.held(wait_s=0):
        pass


def test_another_thread_waits_or_is_told(tmp_path):
    lock = WriterLock(tmp_path / "lock")
    held, release, order = threading.Event(), threading.Event(), []

    def hold():
        with lock.held(wait_s=0):
            held.set()
            release.wait(10)
            order.append("first")

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    began = time.monotonic()
    with pytest.raises(StoreBusyError, match=r"another thread .* waited 0.2 s"):
        with lock.held(wait_s=0.2):
            pass
    assert 0.2 <= time.monotonic() - began < 5
    threading.Timer(0.1, release.set).start()
    with lock.held(wait_s=float("inf")):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


@pytest.mark.parametrize("wait_s", [-1, -1e9, 0])
def test_no_wait_is_no_trouble(tmp_path, wait_s):
    with WriterLock(tmp_path / "lock").held(wait_s=wait_s):
        pass


def test_an_error_inside_lets_go(tmp_path):
    lock = WriterLock(tmp_path / "lock")
    with pytest.raises(KeyError), lock.held(wait_s=0):
        raise KeyError
    with WriterLock(tmp_path / "lock").held(wait_s=0):
        pass


def test_a_lock_that_cannot_be_made(tmp_path):
    (tmp_path / "lock").mkdir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "lock", tmp_path / "file" / "lock"):
        with pytest.raises(StoreWriteError, match="cannot be written") as caught:
            with WriterLock(path).held(wait_s=0):
                pass
        assert caught.value.hint


def test_a_store_is_written_by_one(store, passage):
    other = SQLiteStore(store.path.parent)
    with other.writing():
        with pytest.raises(StoreBusyError), store.writing(wait_s=0.05):
            pass
        assert store.num_passages() == 0
        other.put_many([passage("a")])  # takes the lock that it has
    store.put_many([passage("b")])
    assert other.num_passages() == 2
    other.close()
