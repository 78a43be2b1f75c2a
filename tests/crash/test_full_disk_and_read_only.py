"""A disk that gets full and a folder that cannot be written: a clear error, and nothing lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from kalm_reranker.errors import StoreWriteError
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.store.sqlite_store import SQLiteStore
from tests.crash import in_namespace
from tests.crash.small_index import QUERY, build, passages, records

needs_mounts = pytest.mark.skipif(
    in_namespace.why_not() is not None, reason=str(in_namespace.why_not())
)
MANY = 400


@pytest.fixture(scope="module")
def sound(tmp_path_factory, reranker):
    folder = tmp_path_factory.mktemp("sound") / "index"
    build(folder, reranker)
    return folder


# Full disks

FILLS_THE_DISK = """
import json, os, sys
from pathlib import Path
from kalm_reranker.errors import StoreWriteError
from kalm_reranker.index import adding
from kalm_reranker.index.passage_index import PassageIndex
from tests.crash.small_index import QUERY, load_reranker, passages, records
from tests.crash.test_full_disk_and_read_only import MANY

checkpoint, folder, ballast = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
adding._FIRST_BLOCK = adding._LARGEST_BLOCK = 10
reranker = load_reranker(checkpoint)
said = {}
committed = []


def attempt(name, action):
    try:
        action()
    except StoreWriteError as error:
        said[name] = [error.message, error.hint]


with open(ballast, "wb") as file:
    file.write(bytes(3 * 2**20))
index = PassageIndex.create(folder, reranker)
attempt("add", lambda: index.add(
    passages(1, MANY), on_progress=lambda report: committed.append(report.num_records)))
attempt("delete", lambda: index.delete("p30"))
attempt("compact", index.compact)
said["readable"] = [index.verify().ok, len(index), committed[-1]]
stored = records(index._store)
assert all(p.id in stored for p in passages(1, MANY)[: committed[-1]] if p.id != "p30")
index.close()
with PassageIndex.open(folder, reranker) as index:
    assert records(index._store) == stored
    assert index.verify().ok
    assert index.get("p25").text == passages(1, MANY)[25].text
    assert len(index.rerank(QUERY, list(index.ids())[:20]))
    ballast.unlink()
    report = index.add(passages(1, MANY))
    said["resumed"] = [report.added, report.unchanged, index.verify().ok, len(index)]
    assert len(index.search(QUERY)) == 10
print(json.dumps(said))
"""


@needs_mounts
def test_a_full_disk_costs_nothing_that_was_committed(tiny, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    printed = in_namespace.run(mount, FILLS_THE_DISK, tiny, disk / "index", disk / "ballast")
    said = json.loads(printed.splitlines()[-1])
    message, hint = said["add"]
    assert "full" in message
    assert "run the same command again" in hint
    is_ok, num_passages, committed = said["readable"]
    assert is_ok
    assert 0 < num_passages
    assert 0 < committed < MANY
    added, unchanged, is_ok, num_passages = said["resumed"]
    assert is_ok
    assert num_passages == added + unchanged == MANY
    assert unchanged >= committed - 1  # one of them may have been deleted


CREATES_ON_FULL_DISKS = """
import os, sys
from pathlib import Path
from kalm_reranker.errors import StoreWriteError
from kalm_reranker.store.sqlite_store import SQLiteStore

disk, sound = Path(sys.argv[1]), Path(sys.argv[2])
header = SQLiteStore.open(sound).header
refused = 0
stat = os.statvfs(disk)
ballast = disk / "ballast"
for free_kib in range(0, 1200, 12):
    ballast.write_bytes(b"")
    with ballast.open("wb") as file:
        file.write(bytes(stat.f_blocks * stat.f_frsize - free_kib * 1024))
    folder = disk / "index"
    try:
        store = SQLiteStore.create(folder, header)
    except StoreWriteError as error:
        assert error.hint, error
        refused += 1
        assert not (folder / "passages.sqlite").exists(), free_kib
        leftovers = [p.name for p in folder.glob("*")] if folder.exists() else []
        assert leftovers in ([], ["writer.lock"]), leftovers
    else:
        assert store.verify().ok
        assert store.num_passages() == 0
        store.close()
        for path in folder.iterdir():
            path.unlink()
    ballast.unlink()
print(refused)
"""


@needs_mounts
def test_a_disk_too_full_for_a_new_store_leaves_none(sound, tmp_path):
    """At every amount of free space: half a store would stand in the way of the next attempt."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    refused = int(in_namespace.run(mount, CREATES_ON_FULL_DISKS, disk, sound))
    assert 20 < refused < 80


def test_a_file_that_may_not_grow_keeps_what_was_committed(sound, tmp_path, reranker):
    """SQLite's own limit of pages, which gives the error of a full disk without one."""
    folder = shutil.copytree(sound, tmp_path / "index")
    with PassageIndex.open(folder, reranker) as index:
        before = records(index._store)
        writer = index._store._connections.writer()
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages + 8}")
        committed = []
        with pytest.raises(StoreWriteError, match="the disk is full") as caught:
            index.add(
                passages(1, MANY), on_progress=lambda report: committed.append(report.num_records)
            )
        assert "run the same command again" in caught.value.hint
        assert committed  # blocks of 32, and the file has some room
        after = records(index._store)
        promised = {passage.id for passage in passages(1, MANY)[: committed[-1]]}
        assert promised <= after.keys()
        assert {k: v for k, v in before.items() if k not in promised}.items() <= after.items()
        assert index.verify().ok
        writer.execute("PRAGMA max_page_count = 1000000")
        report = index.add(passages(1, MANY))
        assert report.unchanged == committed[-1]
        assert index.verify().ok
        assert {p.id for p in passages(1, MANY)} <= set(index.ids())


LIMITED = """
import resource, signal, sys
from tests.crash.small_index import load_reranker, passages, records
from tests.crash.test_full_disk_and_read_only import MANY
from kalm_reranker.errors import StoreWriteError
from kalm_reranker.index.passage_index import PassageIndex
reranker = load_reranker(sys.argv[1])
index = PassageIndex.open(sys.argv[2], reranker)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY))
before = len(index)
try:
    index.add(passages(1, MANY))
except StoreWriteError as error:
    assert error.hint
    print("refused:", error.message)
assert index.verify().ok
assert len(index) >= before
index.close()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
report = index.add(passages(1, MANY))
assert index.verify().ok
assert len(set(index.ids()) & {p.id for p in passages(1, MANY)}) == MANY
print("finished")
"""


def test_a_limit_on_file_sizes_is_a_write_error(sound, tiny, tmp_path):
    folder = shutil.copytree(sound, tmp_path / "index")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tiny), str(folder)],
        cwd=in_namespace.ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "refused: " in done.stdout
    assert done.stdout.endswith("finished\n")


# Read-only folders

READS_ONLY = """
import json, os, sys
from pathlib import Path
from kalm_reranker.errors import StoreExistsError, StoreWriteError
from kalm_reranker.index.passage_index import PassageIndex
from tests.crash.small_index import QUERY, load_reranker, passages, records

checkpoint, folder = sys.argv[1], Path(sys.argv[2])
reranker = load_reranker(checkpoint)
said = {}


def refused(name, action):
    try:
        action()
    except StoreWriteError as error:
        said[name] = [error.message, error.hint]
    else:
        raise AssertionError(name)


try:
    (folder / "probe").touch()
except OSError:
    pass
else:
    raise AssertionError("the folder can be written")
with PassageIndex.open(folder, reranker) as index:
    assert index.verify().ok
    assert index.stats().store.num_passages == len(records(index._store))
    ids = list(index.ids())
    said["num_passages"] = len(ids)
    said["margins"] = {r.id: r.margin for r in index.rerank(QUERY, ids, cascade=None)}
    said["texts"] = {name: index.get(name).text for name in ids}
    said["found"] = [r.id for r in index.search(QUERY, cascade=None)]
    refused("add", lambda: index.add(passages(3, 5)))
    refused("delete", lambda: index.delete(ids[0]))
    refused("compact", index.compact)
    refused("create", lambda: PassageIndex.create(folder / "new", reranker))
    assert [r.id for r in index.search(QUERY, cascade=None)] == said["found"]
print(json.dumps(said))
"""


def check_read_only(said, undamaged):
    for name in ("add", "delete", "compact", "create"):
        message, hint = said[name]
        assert "cannot be" in message
        assert hint
    assert said["texts"] == {name: record[0] for name, record in undamaged.items()}
    assert set(said["margins"]) == set(undamaged)
    assert len(said["found"]) == 10


@needs_mounts
@pytest.mark.parametrize("was_read_before", [True, False])
def test_a_read_only_index_can_be_read_and_says_so_when_it_is_written(
    sound, tiny, tmp_path, was_read_before
):
    """Readers leave SQLite's empty files beside it; where there are none, none can be made."""
    with closing(SQLiteStore(sound)) as store:
        undamaged = records(store)
    folder = shutil.copytree(sound, tmp_path / "index")
    leftovers = [folder / f"passages.sqlite-{name}" for name in ("wal", "shm")]
    assert all(path.exists() for path in leftovers)
    if not was_read_before:
        for path in leftovers:
            path.unlink()
    mount = ["mount", "--bind", "-o", "ro", str(folder), str(folder)]
    said = json.loads(in_namespace.run(mount, READS_ONLY, tiny, folder).splitlines()[-1])
    check_read_only(said, undamaged)


KILLED_WITH_A_LOG = """
import os, signal, sys
from tests.crash.small_index import load_reranker, passages
from kalm_reranker.index.passage_index import PassageIndex
index = PassageIndex.open(sys.argv[2], load_reranker(sys.argv[1]))
index.add(passages(2, 30))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed_with_a_log(sound, tiny, tmp_path):
    """An index whose last writer was killed; part of it is in the log beside the file."""
    folder = shutil.copytree(sound, tmp_path / "index")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WITH_A_LOG, str(tiny), str(folder)],
        cwd=in_namespace.ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (folder / "passages.sqlite-wal").stat().st_size > 0
    return folder


@needs_mounts
def test_a_read_only_index_with_a_log_of_a_killed_writer(killed_with_a_log, tiny, tmp_path):
    folder = killed_with_a_log
    copy = shutil.copytree(folder, tmp_path / "copy")
    with closing(SQLiteStore(copy)) as store:
        undamaged = records(store)
    assert undamaged["p25"][0] == passages(2, 30)[25].text
    mount = ["mount", "--bind", "-o", "ro", str(folder), str(folder)]
    said = json.loads(in_namespace.run(mount, READS_ONLY, tiny, folder).splitlines()[-1])
    check_read_only(said, undamaged)


OPENS = """
import sys
from kalm_reranker.errors import StoreError
from kalm_reranker.store.sqlite_store import SQLiteStore
try:
    store = SQLiteStore.open(sys.argv[1])
    print("opened", store.num_passages())
except StoreError as error:
    print(type(error).__name__, bool(error.hint))
"""


@needs_mounts
def test_a_log_that_cannot_be_read_is_not_passed_over(killed_with_a_log):
    """A copy without the log's index on a read-only medium: without the log it would be old."""
    folder = killed_with_a_log
    (folder / "passages.sqlite-shm").unlink()
    mount = ["mount", "--bind", "-o", "ro", str(folder), str(folder)]
    assert in_namespace.run(mount, OPENS, folder) == "StoreError True\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_permissions_are_enough_to_make_an_index_read_only(sound, tmp_path, reranker):
    folder = shutil.copytree(sound, tmp_path / "index")
    folder.chmod(0o555)
    try:
        with PassageIndex.open(folder, reranker) as index:
            assert len(index.search(QUERY)) == 10
            with pytest.raises(StoreWriteError, match="cannot be written"):
                index.add(passages(3, 5))
    finally:
        folder.chmod(0o755)
