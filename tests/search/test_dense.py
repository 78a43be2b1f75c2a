import contextlib
import errno
import logging
import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalm_reranker.errors import (
    DamagedStoreError,
    InputError,
    InvalidOptionError,
    StoreWriteError,
)
from kalm_reranker.search import dense, dense_rows, derived_folder
from kalm_reranker.search.dense import DenseFirstStage
from kalm_reranker.search.sync_report import SyncReport
from tests.search.crashes import kill_after, start
from tests.search.feeds import VectorDictFeed

WIDTH = 6


def unit(number, width=WIDTH):
    vector = np.random.default_rng(number).normal(size=width)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def feed_of(num_passages, width=WIDTH):
    return VectorDictFeed(
        {key: unit(key, width) for key in range(1, num_passages + 1)}, store_id="store"
    )


def exact(feed, query, top_k):
    """The answer by the book, from the feed itself."""
    scored = [
        (key, float((np.float64(vector) * np.float64(query)).sum()))
        for key, vector in feed.live().items()
    ]
    return sorted(scored, key=lambda hit: (-hit[1], hit[0]))[:top_k]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of five rows, so that few rows fill several."""
    monkeypatch.setattr(dense_rows, "_BLOCK_BYTES", 5 * 4 * WIDTH)


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "store" / "dense"


@pytest.fixture
def index(directory):
    index = DenseFirstStage(directory, width=WIDTH)
    yield index
    index.close()


def synced(directory, feed):
    index = DenseFirstStage(directory, width=WIDTH)
    index.sync(feed)
    index.close()


@pytest.mark.parametrize("num_passages", [0, 1, 4, 5, 6, 10, 23])
@pytest.mark.parametrize("top_k", [1, 3, 100])
def test_search_is_exact(index, num_passages, top_k):
    feed = feed_of(num_passages)
    report = index.sync(feed)
    assert report == SyncReport(added=num_passages, rebuilt=True, reason="there was none")
    for number in range(100, 105):
        found = index.search(unit(number), top_k)
        assert found == exact(feed, unit(number), top_k)
    assert index.num_docs == num_passages


def test_equal_vectors_are_ordered_by_key_wherever_they_stand(index):
    feed = VectorDictFeed({key: unit(1) for key in range(40, 0, -1)})
    index.sync(feed)
    found = index.search(unit(2), 7)
    assert [key for key, _ in found] == [1, 2, 3, 4, 5, 6, 7]
    assert len({score for _, score in found}) == 1


def test_vectors_are_replaced_deleted_and_come_again(index, directory):
    feed = feed_of(23)
    index.sync(feed)
    feed.put(3, unit(1000))
    feed.delete(4)
    feed.put(50, unit(1001))
    assert index.is_behind(feed)
    assert index.sync(feed) == SyncReport(added=2, deleted=1)
    assert index.sync(feed) == SyncReport()
    assert index.search(unit(5), 100) == exact(feed, unit(5), 100)
    assert index.search(unit(1000), 1)[0][0] == 3
    assert index.num_docs == 23
    files = {path.name for path in directory.rglob("*") if path.is_file()}
    assert files == {"state.json", "lock", "vectors.f32", f"keys-{feed.last_change()}.i64"}


def test_rows_that_are_gone_are_cleared_away(index, directory):
    feed = feed_of(20)
    index.sync(feed)
    for key in range(1, 6):
        feed.delete(key)
    assert not index.sync(feed).rebuilt
    feed.delete(6)
    report = index.sync(feed)
    assert (report.rebuilt, report.reason) == (True, "much of it was deleted passages")
    [vectors] = directory.rglob("vectors.f32")
    assert vectors.stat().st_size == 14 * 4 * WIDTH
    assert index.search(unit(5), 100) == exact(feed, unit(5), 100)


def test_many_changes_are_made_durable_in_parts(index, monkeypatch):
    monkeypatch.setattr(dense, "_CHANGES_PER_COMMIT", 7)
    feed = feed_of(60)
    index.sync(feed)
    for key in range(55, 80):
        feed.put(key, unit(-key % 997))
    assert index.sync(feed) == SyncReport(added=25)
    assert index.search(unit(5), 100) == exact(feed, unit(5), 100)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "delete", "sync", "sync", "reopen"]),
        st.integers(1, 12),
    ),
    max_size=40,
)


@settings(max_examples=40)
@given(STEPS)
def test_an_index_that_caught_up_equals_a_new_one(tmp_path_factory, steps):
    directory = tmp_path_factory.mktemp("equal") / "dense"
    feed = VectorDictFeed()
    index = DenseFirstStage(directory, width=WIDTH)
    for number, (step, key) in enumerate(steps):
        if step == "put":
            feed.put(key, unit(number))
        elif step == "delete":
            feed.delete(key)
        elif step == "sync":
            index.sync(feed)
        else:
            index.close()
            index = DenseFirstStage(directory, width=WIDTH)
    index.sync(feed)
    assert index.search(unit(77), 100) == exact(feed, unit(77), 100)
    assert index.num_docs == feed.num_passages()
    index.close()


def test_another_width_or_store_is_rebuilt(directory):
    synced(directory, feed_of(8))
    other = DenseFirstStage(directory, width=3)
    assert other.sync(feed_of(8, width=3)).reason == "its vectors had another width"
    assert len(other.search(unit(1, 3), 100)) == 8
    foreign = feed_of(2, width=3)
    foreign.store_id = "other"
    assert other.sync(foreign).reason == "it belongs to another store"
    assert len(other.search(unit(1, 3), 100)) == 2
    other.close()


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ones(WIDTH + 1), r"must be 6 finite numbers; got shape \(7,\)"),
        (np.ones((1, WIDTH)), r"got shape \(1, 6\)"),
        (np.full(WIDTH, np.nan), r"got shape \(6,\) with NaN or infinite values"),
    ],
)
def test_a_query_that_is_no_vector_of_the_model_is_refused(index, vector, message):
    with pytest.raises(InputError, match=message):
        index.search(vector, 3)


def test_options_out_of_range_are_refused(directory, index):
    with pytest.raises(InvalidOptionError, match="width must be a positive integer"):
        DenseFirstStage(directory, width=0)
    with pytest.raises(InvalidOptionError, match="top_k must be a positive integer"):
        index.search(unit(1), 0)


def test_a_vector_of_another_width_in_the_store_is_refused(index):
    feed = feed_of(3)
    index.sync(feed)
    feed.put(9, np.ones(2))
    with pytest.raises(DamagedStoreError, match="key 9 must have 24 bytes; got 8"):
        index.sync(feed)
    assert len(index.search(unit(1), 10)) == 3


# Hardship


GROWS_UNTIL_KILLED = """
import sys
from pathlib import Path
from kalm_reranker.search import dense, dense_rows
from kalm_reranker.search.dense import DenseFirstStage
from tests.search.test_dense import WIDTH, feed_of

dense_rows._BLOCK_BYTES = 5 * 4 * WIDTH
dense._CHANGES_PER_COMMIT = 20
feed = feed_of(150)
index = DenseFirstStage(Path(sys.argv[1]), width=WIDTH)
print("ready", flush=True)
while True:
    index.sync(feed)
    for key in range(1, 60):
        feed.put(key, feed.live()[key])
"""


def test_a_process_killed_while_it_syncs_leaves_what_the_next_one_repairs(directory):
    feed = feed_of(150)
    for seconds in (0.0, 0.01, 0.03, 0.06, 0.1):
        kill_after(start(GROWS_UNTIL_KILLED, directory), seconds)
        index = DenseFirstStage(directory, width=WIDTH)
        index.sync(feed)
        assert index.search(unit(5), 200) == exact(feed, unit(5), 200)
        index.close()


def test_rows_of_a_killed_process_are_cut_off(directory):
    feed = feed_of(7)
    synced(directory, feed)
    [vectors] = directory.rglob("vectors.f32")
    with vectors.open("ab") as file:
        file.write(b"\xff" * 61)
    index = DenseFirstStage(directory, width=WIDTH)
    assert not index.is_behind(feed)
    feed.put(8, unit(8))
    assert not index.sync(feed).rebuilt
    assert index.search(unit(5), 100) == exact(feed, unit(5), 100)
    index.close()


def damaged(content, how):
    middle = len(content) // 2
    return {
        "cut": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :],
        "empty": b"",
    }[how]


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "missing"])
@pytest.mark.parametrize("is_large", [False, True])
def test_whatever_file_is_damaged_the_answers_are_right(tmp_path, monkeypatch, how, is_large):
    if is_large:  # then blocks are checked when they are read
        monkeypatch.setattr(dense, "VERIFIED_BYTES", 0)
    feed = feed_of(23)
    original, directory = tmp_path / "original", tmp_path / "dense"
    synced(original, feed)
    names = [path.relative_to(original) for path in original.rglob("*") if path.is_file()]
    for name in (name for name in names if name.name != "lock"):
        shutil.copytree(original, directory)
        if how == "missing":
            (directory / name).unlink()
        else:
            (directory / name).write_bytes(damaged((directory / name).read_bytes(), how))
        with contextlib.closing(DenseFirstStage(directory, width=WIDTH)) as index:
            with contextlib.suppress(DamagedStoreError):
                assert is_large or index.search(unit(5), 100) in ([], exact(feed, unit(5), 100))
                index.search(unit(5), 100)
            index.sync(feed)
            assert index.search(unit(5), 100) == exact(feed, unit(5), 100)
        shutil.rmtree(directory)


def test_damage_is_noticed_before_rows_are_appended(directory, monkeypatch, caplog):
    monkeypatch.setattr(dense, "VERIFIED_BYTES", 0)
    feed = feed_of(7)
    synced(directory, feed)
    [vectors] = directory.rglob("vectors.f32")
    content = vectors.read_bytes()
    vectors.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    feed.put(8, unit(8))
    with contextlib.closing(DenseFirstStage(directory, width=WIDTH)) as index:
        report = index.sync(feed)
        assert report.reason == "vectors.f32 holds other bytes than were written"
        assert index.search(unit(5), 100) == exact(feed, unit(5), 100)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_folder_to_be_left_alone_is_used_and_not_changed(directory, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    feed = feed_of(7)
    synced(directory, feed)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    with contextlib.closing(DenseFirstStage(directory, width=WIDTH, writable=False)) as index:
        assert not index.is_behind(feed)
        assert index.search(unit(5), 100) == exact(feed, unit(5), 100)
        for key in (8, 9):  # built there at first, then kept up
            feed.put(key, unit(key))
            report = index.sync(feed)
            assert report.reason == ("it is behind, and read-only" if key == 8 else None)
            assert index.search(unit(5), 100) == exact(feed, unit(5), 100)
    assert before == {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_a_typed_error_and_leaves_the_old_index(index, monkeypatch, call):
    feed = feed_of(7)
    index.sync(feed)
    expected = exact(feed, unit(5), 100)
    feed.put(8, unit(8))
    feed.delete(2)

    def refuse(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse)
        with pytest.raises(StoreWriteError, match=r"dense index in .* No space left") as caught:
            index.sync(feed)
        assert caught.value.hint
        assert index.search(unit(5), 100) == expected
    assert not index.sync(feed).rebuilt
    assert index.search(unit(5), 100) == exact(feed, unit(5), 100)


def test_two_indexes_at_one_folder_see_each_other(directory, index):
    feed = feed_of(7)
    index.sync(feed)
    other = DenseFirstStage(directory, width=WIDTH)
    feed.put(8, unit(8))
    other.sync(feed)
    assert index.search(unit(8), 1)[0][0] == 8
    assert not index.is_behind(feed)
    feed.put(9, unit(9))
    lock = derived_folder.DerivedFolder(directory, kind="dense", format_version=1).lock()
    with lock as is_mine:
        assert is_mine
        assert index.sync(feed) == SyncReport(reason="another process is writing", behind=1)
    assert index.sync(feed).added == 1
    other.close()


def test_memory_does_not_grow_with_the_store(directory, monkeypatch):
    """Python's and NumPy's memory in one search: blocks, not the matrix."""
    import tracemalloc

    monkeypatch.undo()
    width, num_passages = 64, 40_000  # 10 MB
    vectors = np.random.default_rng(0).normal(size=(num_passages, width)).astype(np.float32)
    feed = VectorDictFeed({key + 1: vectors[key] for key in range(num_passages)})
    index = DenseFirstStage(directory, width=width)
    index.sync(feed)
    query = vectors[17] / np.linalg.norm(vectors[17])
    index.search(query, 10)
    tracemalloc.start()
    assert len(index.search(query, 10)) == 10
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    index.close()
