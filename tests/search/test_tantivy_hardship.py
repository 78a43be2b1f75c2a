"""The BM25 index when things go wrong: kills, damage, other processes, read-only and full disks."""

import errno
import json
import logging
import os
import shutil

import pytest

from kalm_reranker.errors import DamagedStoreError, StoreWriteError
from kalm_reranker.search import derived_folder, tantivy_folder
from kalm_reranker.search.tantivy_bm25 import TantivyBM25
from tests.search.crashes import kill_after, start
from tests.search.feeds import DictFeed


def feed_of(num_passages):
    return DictFeed(
        {key: f"common word{key} word{key % 7}" for key in range(1, num_passages + 1)},
        store_id="store",
    )


def answers(index):
    return [index.search(query, 50) for query in ("common", "word3", "word40", "zebra")]


def fresh_answers(tmp_path, feed):
    index = TantivyBM25(tmp_path / "fresh")
    index.sync(feed)
    found = answers(index)
    index.close()
    return found


def synced(directory, feed):
    index = TantivyBM25(directory)
    index.sync(feed)
    index.close()


# Kills

GROWS_UNTIL_KILLED = """
import sys
from pathlib import Path
from kalm_reranker.search import tantivy_writing
from kalm_reranker.search.tantivy_bm25 import TantivyBM25
from tests.search.test_tantivy_hardship import feed_of

tantivy_writing._CHANGES_PER_COMMIT = 50
feed = feed_of(int(sys.argv[2]))
index = TantivyBM25(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    index.sync(feed)
    for key in range(1, 200):
        feed.put(key, feed.live()[key])
"""


def test_a_process_killed_while_it_syncs_leaves_what_the_next_one_repairs(tmp_path):
    directory = tmp_path / "bm25"
    feed = feed_of(300)
    expected = None
    for seconds in (0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.21):
        kill_after(start(GROWS_UNTIL_KILLED, directory, 300), seconds)
        index = TantivyBM25(directory)
        index.sync(feed)
        if expected is None:
            expected = fresh_answers(tmp_path, feed)
        assert index.num_docs == 300
        keys = [[key for key, _ in found] for found in answers(index)]
        assert keys == [[key for key, _ in found] for found in expected]
        index.close()
        folders = [path for path in directory.iterdir() if path.is_dir()]
        assert len(folders) == 1


def test_state_behind_the_index_is_repaired(tmp_path):
    """As after a kill between tantivy's commit and the state."""
    directory = tmp_path / "bm25"
    feed = feed_of(20)
    synced(directory, feed)
    before = (directory / "state.json").read_bytes()
    feed.put(5, "zebra")
    synced(directory, feed)
    (directory / "state.json").write_bytes(before)
    index = TantivyBM25(directory)
    index.sync(feed)
    assert answers(index)[-1] == fresh_answers(tmp_path, feed)[-1] != []
    index.close()


# Damage


def data_files(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.name != "lock")


def truncate(content):
    return content[: len(content) // 2]


def flip_a_bit(content):
    return content[: len(content) // 2] + bytes(
        byte ^ 4 if at == 0 else byte for at, byte in enumerate(content[len(content) // 2 :])
    )


def empty(content):
    return b""


def test_whatever_file_is_damaged_the_answers_are_right(tmp_path):
    feed = feed_of(60)
    original, directory = tmp_path / "original", tmp_path / "bm25"
    synced(original, feed)
    feed.delete(3)
    synced(original, feed)
    index = TantivyBM25(original)
    expected = answers(index)
    index.close()
    names = [path.relative_to(original) for path in data_files(original)]
    assert len(names) > 8
    for name in names:
        for damage in (truncate, flip_a_bit, empty, None):
            shutil.copytree(original, directory)
            if damage is None:
                (directory / name).unlink()
            else:
                (directory / name).write_bytes(damage((directory / name).read_bytes()))
            index = TantivyBM25(directory)
            index.search("common", 3)  # before anything was checked: no crash
            report = index.sync(feed)
            assert not index.is_behind(feed)
            got = answers(index)
            same = got == expected or (report.rebuilt and got[0][0][0] == 1)
            assert same, (name, damage)
            assert [[key for key, _ in found] for found in got] == [
                [key for key, _ in found] for found in expected
            ]
            index.close()
            shutil.rmtree(directory)


def test_damage_is_logged_with_its_reason(tmp_path, caplog):
    feed = feed_of(20)
    directory = tmp_path / "bm25"
    synced(directory, feed)
    victim = next(path for path in data_files(directory) if path.suffix == ".idx")
    victim.write_bytes(flip_a_bit(victim.read_bytes()))
    index = TantivyBM25(directory)
    report = index.sync(feed)
    assert report.rebuilt
    assert report.reason == f"{victim.name} holds other bytes than were written"
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert report.reason in record.getMessage()
    index.close()


def test_damage_that_was_not_looked_for_is_no_crash(tmp_path, monkeypatch):
    """As in an index too large to be read whole when it is opened."""
    monkeypatch.setattr(derived_folder, "VERIFIED_BYTES", 0)
    feed = feed_of(300)
    original, directory = tmp_path / "original", tmp_path / "bm25"
    synced(original, feed)
    for name in [path.relative_to(original) for path in data_files(original)]:
        shutil.copytree(original, directory)
        content = (directory / name).read_bytes()
        middle = len(content) // 2
        (directory / name).write_bytes(content[:middle] + b"\xff" * (len(content) - middle))
        index = TantivyBM25(directory)
        try:
            answers(index)
        except DamagedStoreError as error:
            assert "is built again" in str(error)  # noqa: PT017
        feed.put(301, "zebra")
        index.sync(feed)
        try:
            answers(index)
        except DamagedStoreError:
            assert index.is_behind(feed)
            assert index.sync(feed).rebuilt
            answers(index)
        index.close()
        shutil.rmtree(directory)


class PanicException(BaseException):
    """As tantivy's panics look from Python."""


@pytest.mark.parametrize("error", [PanicException("boom"), ValueError("boom"), OSError("boom")])
def test_whatever_a_search_raises_is_mended_by_the_next_sync(tmp_path, monkeypatch, error):
    feed = feed_of(20)
    index = TantivyBM25(tmp_path / "bm25")
    index.sync(feed)

    def fail(*args, **kwargs):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(tantivy_folder.TantivyReader, "_query", fail)
        with pytest.raises(DamagedStoreError, match=r"cannot be read: boom.*search again"):
            index.search("common", 3)
    assert index.is_behind(feed)
    assert index.sync(feed).rebuilt
    assert len(index.search("common", 3)) == 3
    index.close()


def test_a_newer_format_is_rebuilt_without_alarm(tmp_path, monkeypatch, caplog):
    feed = feed_of(5)
    with monkeypatch.context() as patched:
        patched.setattr("kalm_reranker.search.tantivy_bm25._FORMAT", 99)
        synced(tmp_path / "bm25", feed)
    index = TantivyBM25(tmp_path / "bm25")
    assert index.sync(feed).reason == "it has the format bm25 99, not bm25 1"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    index.close()


def test_a_state_file_that_names_a_folder_outside_is_refused(tmp_path):
    directory = tmp_path / "bm25"
    feed = feed_of(5)
    synced(directory, feed)
    content = json.loads((directory / "state.json").read_bytes())
    del content["checksum"]
    content["generation"] = "../elsewhere"
    content["checksum"] = derived_folder._checksum(content)
    (directory / "state.json").write_text(json.dumps(content))
    index = TantivyBM25(directory)
    assert index.sync(feed).reason == "state.json names no folder"
    index.close()


# Other processes

HOLDS_THE_LOCK = """
import sys
import time
from filelock import FileLock

with FileLock(sys.argv[1] + "/lock"):
    print("ready", flush=True)
    time.sleep(60)
"""

ADDS_A_ZEBRA = """
import sys
from pathlib import Path
from kalm_reranker.search.tantivy_bm25 import TantivyBM25
from tests.search.test_tantivy_hardship import feed_of

feed = feed_of(20)
feed.put(7, "zebra")
if sys.argv[2] == "rebuild":
    feed.store_id = "other"
index = TantivyBM25(Path(sys.argv[1]))
index.sync(feed)
index.close()
"""


def test_while_another_process_writes_the_old_index_is_searched(tmp_path):
    directory = tmp_path / "bm25"
    feed = feed_of(20)
    index = TantivyBM25(directory)
    index.sync(feed)
    feed.put(21, "zebra")
    feed.put(22, "zebra")
    process = start(HOLDS_THE_LOCK, directory)
    try:
        assert process.stdout.readline().strip() == "ready"
        report = index.sync(feed)
        assert (report.behind, report.added, report.rebuilt) == (2, 0, False)
        assert len(index.search("common", 100)) == 20
        newcomer = TantivyBM25(tmp_path / "bm25")
        assert len(newcomer.search("common", 100)) == 20
        newcomer.close()
    finally:
        process.kill()
        process.communicate()
    assert index.sync(feed).added == 2
    assert len(index.search("zebra", 100)) == 2
    index.close()


@pytest.mark.parametrize("how", ["catch up", "rebuild"])
def test_what_another_process_committed_is_picked_up(tmp_path, how):
    directory = tmp_path / "bm25"
    index = TantivyBM25(directory)
    index.sync(feed_of(20))
    assert index.search("zebra", 3) == []
    process = start(ADDS_A_ZEBRA, directory, how)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert [key for key, _ in index.search("zebra", 3)] == [7]
    index.close()


# Read-only folders


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary folders are made during a test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def content_of(directory):
    return {path: path.read_bytes() for path in data_files(directory)}


def test_a_folder_to_be_left_alone_is_used_and_not_changed(tmp_path, temporary):
    directory = tmp_path / "bm25"
    feed = feed_of(20)
    synced(directory, feed)
    before = content_of(directory)
    index = TantivyBM25(directory, writable=False)
    assert not index.is_behind(feed)
    assert len(index.search("common", 100)) == 20
    feed.put(21, "zebra")
    feed.delete(20)
    report = index.sync(feed)
    assert (report.added, report.deleted, report.rebuilt) == (1, 1, False)
    assert [key for key, _ in index.search("zebra", 3)] == [21]
    assert content_of(directory) == before
    index.close()
    assert list(temporary.iterdir()) == []


def test_a_missing_folder_to_be_left_alone_is_built_elsewhere(tmp_path, temporary, caplog):
    caplog.set_level(logging.INFO, logger="kalm_reranker")
    directory = tmp_path / "bm25"
    index = TantivyBM25(directory, writable=False)
    assert index.sync(feed_of(20)).rebuilt
    assert len(index.search("common", 100)) == 20
    assert not directory.exists()
    assert "it is to be left alone" in caplog.text
    index.close()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_turns_out_to_be_read_only(tmp_path, temporary, monkeypatch, number):
    directory = tmp_path / "bm25"
    real_mkdir = os.mkdir

    def mkdir(path, *args, **kwargs):
        if str(path).startswith(str(directory)):
            raise OSError(number, os.strerror(number), str(path))
        return real_mkdir(path, *args, **kwargs)

    monkeypatch.setattr(os, "mkdir", mkdir)
    index = TantivyBM25(directory)
    assert index.sync(feed_of(20)).rebuilt
    assert len(index.search("common", 100)) == 20
    index.close()
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission(tmp_path, temporary):
    directory = tmp_path / "bm25"
    feed = feed_of(20)
    synced(directory, feed)
    directory.chmod(0o500)
    try:
        index = TantivyBM25(directory)
        feed.put(21, "zebra")
        assert not index.sync(feed).rebuilt
        assert len(index.search("zebra", 3)) == 1
        index.close()
    finally:
        directory.chmod(0o700)


# Full disks

MEETS_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from kalm_reranker.errors import StoreWriteError
from kalm_reranker.search.tantivy_bm25 import TantivyBM25
from tests.search.test_tantivy_hardship import answers, feed_of

feed = feed_of(20)
index = TantivyBM25(Path(sys.argv[1]))
if sys.argv[2] == "catch up":
    index.sync(feed)
before = answers(index)
for key in range(21, 4000):
    feed.put(key, f"common word{key} zebra" * 3)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
try:
    index.sync(feed)
except StoreWriteError as error:
    assert error.hint
    assert answers(index) == before
    other = TantivyBM25(Path(sys.argv[1]))
    assert answers(other) == before
    print("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
index.sync(feed)
print(len(index.search("zebra", 5000)))
"""


@pytest.mark.parametrize("when", ["catch up", "build"])
def test_a_full_disk_is_a_typed_error_and_leaves_the_old_index(tmp_path, when):
    process = start(MEETS_A_FULL_DISK, tmp_path / "bm25", when)
    output, _ = process.communicate(timeout=60)
    assert output.split() == ["refused", "3979"]


def test_a_state_that_cannot_be_written(tmp_path, monkeypatch):
    feed = feed_of(20)
    index = TantivyBM25(tmp_path / "bm25")
    index.sync(feed)
    feed.put(21, "zebra")

    def refuse(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        with pytest.raises(StoreWriteError, match="No space left on device"):
            index.sync(feed)
        assert len(index.search("common", 100)) == 20
    index.sync(feed)
    assert len(index.search("zebra", 100)) == 1
    index.close()
