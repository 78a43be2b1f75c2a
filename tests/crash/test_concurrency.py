"""Readers and writers at once: complete records, consistent answers, one writer at a time."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from kalm_reranker.errors import KalmRerankerError, StoreBusyError
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.store.passage import Passage
from kalm_reranker.store.sqlite_store import SQLiteStore
from tests.crash import in_namespace
from tests.crash.small_index import QUERY, build, passages, records

NUM_VERSIONS = 3
# After several attempts; then a text may be newer than the margin beside it.
SAID_NEWER = "passages change faster than they are scored; texts may be newer"


@pytest.fixture(scope="module")
def sound(tmp_path_factory, reranker):
    folder = tmp_path_factory.mktemp("sound") / "index"
    build(folder, reranker)
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "index")


def version(number):
    """The same ids with other texts, whose margins differ."""
    return [Passage(p.id, f"{p.text} v{number}", {"v": number}) for p in passages(number)]


def start(program, *args):
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, args)],
        cwd=in_namespace.ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(process):
    """Waits for a line of a process, and returns it."""
    line = process.stdout.readline().strip()
    assert line, "the process ended"
    return line


READS_WHILE_WRITTEN = """
import json, select, sys
from kalm_reranker.index.passage_index import PassageIndex
from tests.crash.small_index import QUERY, load_reranker, passages
from tests.crash.test_concurrency import check_results

index = PassageIndex.open(sys.argv[2], load_reranker(sys.argv[1]))
margins = json.loads(sys.stdin.readline())
ids = [passage.id for passage in passages()]
print("ready", flush=True)
searches, seen = 0, set()
while not select.select([sys.stdin], [], [], 0)[0]:
    seen |= check_results(index.rerank(QUERY, ids, missing_ok=True, cascade=None), margins)
    seen |= check_results(index.search(QUERY, 20, cascade=None), margins)
    report = index.verify()
    assert report.ok, report
    searches += 1
print(json.dumps([searches, sorted(seen)]), flush=True)
"""


def check_results(results, margins):
    """Asserts that every result has the text and the metadata of one version of a passage."""
    assert not results.damaged
    for result in results:
        if SAID_NEWER not in results.notes:
            # Another process may have another number of threads, which adds in another order.
            assert abs(result.margin - margins[result.text]) < 1e-4
        if (v := result.metadata.get("v")) is not None:
            assert result.text.endswith(f" v{v}")
    return {result.metadata.get("v", -1) for result in results}


def margins_of(folder, reranker):
    """The margin of every text that is ever in the index."""
    with PassageIndex.open(folder, reranker) as index:
        ever = [index.get(name) for name in index.ids()]
    ever += [passage for number in range(NUM_VERSIONS) for passage in version(number)]
    texts = sorted({passage.text for passage in ever})
    scored = reranker.score(QUERY, reranker.encode(texts), return_margin=True)
    return {text: pair.margin for text, pair in zip(texts, scored, strict=True)}


def test_readers_see_whole_records_while_a_process_writes(folder, tiny, reranker):
    margins = json.dumps(margins_of(folder, reranker))
    readers = [start(READS_WHILE_WRITTEN, tiny, folder) for _ in range(2)]
    for reader in readers:
        reader.stdin.write(margins + "\n")
        reader.stdin.flush()
    for reader in readers:
        assert ask(reader) == "ready"
    with PassageIndex.open(folder, reranker) as index:
        for number in [*range(NUM_VERSIONS)] * 2:
            index.add(version(number))
            index.delete(version(number)[number].id)
            index.compact()
            time.sleep(0.1)
    for reader in readers:
        said, _ = reader.communicate("stop\n", timeout=60)
        assert reader.returncode == 0
        searches, seen = json.loads(said)
        assert searches > 1
        assert len(seen) > 1, "it saw no change"


HOLDS_THE_LOCK = """
import sys
from kalm_reranker.store.sqlite_store import SQLiteStore
store = SQLiteStore.open(sys.argv[1])
with store.writing():
    print("held", flush=True)
    sys.stdin.readline()
store.close()
print("released", flush=True)
"""


def test_a_second_writer_is_told_so_or_waits(folder, reranker):
    holder = start(HOLDS_THE_LOCK, folder)
    assert ask(holder) == "held"
    with PassageIndex.open(folder, reranker) as index:
        began = time.monotonic()
        with pytest.raises(StoreBusyError, match="being written by another process") as caught:
            index.add(version(0), wait_s=0.3)
        assert 0.3 <= time.monotonic() - began < 5
        assert caught.value.hint
        assert len(index.search(QUERY)) == 10  # readers do not mind
        threading.Timer(0.4, lambda: holder.communicate("go\n")).start()
        assert index.add(version(0), wait_s=60).replaced == 29
        assert index.verify().ok
    holder.wait(30)


def test_the_lock_of_a_killed_writer_is_free(folder, reranker):
    holder = start(HOLDS_THE_LOCK, folder)
    assert ask(holder) == "held"
    holder.kill()
    holder.communicate()
    with PassageIndex.open(folder, reranker) as index:
        assert index.add(version(0), wait_s=0).replaced == 29


ADDS = """
import sys
from kalm_reranker.index import adding
from kalm_reranker.index.passage_index import PassageIndex
from tests.crash.small_index import load_reranker
from tests.crash.test_concurrency import version
adding._FIRST_BLOCK = adding._LARGEST_BLOCK = 4
index = PassageIndex.open(sys.argv[2], load_reranker(sys.argv[1]))
index.reranker.provenance
print("ready", flush=True)
sys.stdin.readline()
for number in range(3):
    index.add(version(number if sys.argv[3] == "up" else 2 - number), wait_s=60)
index.close()
print("done", flush=True)
"""


def test_two_writers_take_turns(folder, tiny, reranker):
    writers = [start(ADDS, tiny, folder, way) for way in ("up", "down")]
    for writer in writers:
        assert ask(writer) == "ready"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        said, _ = writer.communicate(timeout=120)
        assert said == "done\n"
    with PassageIndex.open(folder, reranker) as index:
        assert index.verify().ok
        versions = {index.get(p.id).metadata["v"] for p in passages()}
        assert len(versions) == 1, "the adds of two writers are mixed"
        assert versions <= {0, 2}


def test_threads_share_an_index(folder, reranker):
    """Searches, adds and deletes at once; whatever is seen is whole."""
    margins = margins_of(folder, reranker)
    failures, counts = [], {"search": 0, "add": 0, "delete": 0, "verify": 0}
    stop = threading.Event()

    def repeat(name, action):
        while not stop.is_set():
            try:
                action()
                counts[name] += 1
                time.sleep(0.01)  # or whoever is quick keeps the others from their turn
            except BaseException as error:
                failures.append((name, error))
                stop.set()

    with PassageIndex.open(folder, reranker, hot_bytes=200_000) as index:
        turns = iter(range(10_000))
        names = [p.id for p in passages()]
        actions = [
            ("search", lambda: check_results(index.search(QUERY, 20, cascade=None), margins)),
            ("search", lambda: check_results(rerank(index, names), margins)),
            ("add", lambda: index.add(version(next(turns) % NUM_VERSIONS))),
            ("add", lambda: index.add(version(next(turns) % NUM_VERSIONS)[::3])),
            ("delete", lambda: index.delete(names[next(turns) % 32], missing_ok=True)),
            ("verify", lambda: check_verified(index)),
        ]
        threads = [threading.Thread(target=repeat, args=action) for action in actions]
        for thread in threads:
            thread.start()
        stop.wait(4)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not failures, failures
        assert min(counts.values()) > 0, counts
        assert index.verify().ok


def rerank(index, names):
    return index.rerank(QUERY, names, missing_ok=True, compression_ratio=4)


def check_verified(index):
    report = index.verify()
    assert report.ok, report


def test_threads_that_come_and_go_leave_no_open_files(folder, reranker):
    """As in a server with a thread for each request."""
    with PassageIndex.open(folder, reranker) as index:
        for _ in range(30):
            thread = threading.Thread(target=index.get, args=("p25",))
            thread.start()
            thread.join()
        handles = [
            os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
        ]
        assert sum(handle.endswith("passages.sqlite") for handle in handles) <= 3


FORKS = """
import os, sys, threading
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.errors import StoreBusyError
from tests.crash.small_index import QUERY, load_reranker, passages
from tests.crash.test_concurrency import version

index = PassageIndex.open(sys.argv[2], load_reranker(sys.argv[1]))
index.add(version(0)[:3])
expected = [(r.id, r.margin) for r in index.search(QUERY, cascade=None)]


def child(work):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status) if status else sys.exit(0)  # leaves as programs do
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def uses_it():
    assert [(r.id, r.margin) for r in index.search(QUERY, cascade=None)] == expected
    index.add(version(1))
    assert index.get("p25").metadata == {"v": 1}
    assert index.verify().ok
    index.close()


def cannot_write():
    try:
        index.add(version(2), wait_s=0.2)
    except StoreBusyError:
        return
    raise AssertionError("two writers")


assert child(uses_it) == 0
assert index.get("p25").metadata == {"v": 1}
index.add(version(2)[:20])
assert index.verify().ok
with index._store.writing():
    assert child(cannot_write) == 0
    # The child has ended: the lock is still ours.
    other = PassageIndex.open(sys.argv[2], index.reranker)
    try:
        other.add(version(0), wait_s=0.2)
    except StoreBusyError:
        pass
    else:
        raise AssertionError("the child let go of the lock")
    index.add(version(0))
assert child(lambda: None) == 0
assert index.verify().ok
assert index.get("p25").metadata == {"v": 0}
index.close()
print("whole")
"""


def test_a_fork_uses_the_index_and_the_parent_goes_on(folder, tiny, reranker):
    process = start(FORKS, tiny, folder)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert said.splitlines()[-1] == "whole"
    with closing(SQLiteStore(folder)) as store:
        assert store.verify().ok
        assert len(records(store)) >= 32


def test_a_passage_replaced_in_the_middle_of_a_search_is_not_shown_with_another_ones_margin(
    folder, reranker, monkeypatch
):
    """States are read before texts; between the two, another process may replace a passage."""
    with PassageIndex.open(folder, reranker) as index:
        margins = margins_of(folder, reranker)
        index.add(version(0))
        read_passages = SQLiteStore.read_passages

        def replaced_meanwhile(store, keys):
            monkeypatch.setattr(SQLiteStore, "read_passages", read_passages)
            with PassageIndex.open(folder, reranker) as other:
                other.add(version(1))
            return read_passages(store, keys)

        monkeypatch.setattr(SQLiteStore, "read_passages", replaced_meanwhile)
        results = index.rerank(QUERY, [p.id for p in passages()], cascade=None)
    for result in results:
        assert abs(result.margin - margins[result.text]) < 1e-4


def test_a_store_closed_under_a_thread_opens_again(folder):
    store = SQLiteStore(folder)
    store.close()
    assert store.num_passages() == 29
    store.close()
    with pytest.raises(KalmRerankerError, match="no index"):
        SQLiteStore(folder / "none")
