"""A builder killed at any moment of its work, again and again, loses at most one block."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.store.checksums import text_hash
from kalm_reranker.store.sqlite_store import SQLiteStore
from tests.crash.small_index import QUERY, records, sentence

ROOT = Path(__file__).parents[2]
NUM_PASSAGES = 500
BLOCK = 10  # passages of a commit
KILLS_WHILE_ADDING, KILLS_WHILE_SYNCING = 11, 4  # of each edition
EDITIONS = 3


def edition(number):
    """The same ids every time; a third of the texts and some of the metadata are new."""
    found = []
    for position in range(NUM_PASSAGES):
        changes = sum(1 for n in range(1, number + 1) if position % 3 == n % 3)
        generator = random.Random(position * 100 + changes)
        text = f"{sentence(generator, generator.randint(2, 12))} {position}-{changes}"
        metadata = {"edition": number} if position % 7 == 0 else None
        found.append((f"p{position}\n", text, metadata))
    return found


class Server:
    """Starts builders; see `builder.py`."""

    def __init__(self, checkpoint):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.builder", str(checkpoint)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, folder, passages):
        order = {"folder": str(folder), "passages": passages, "block": BLOCK}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self.next()["pid"]

    def next(self):
        return json.loads(self._process.stdout.readline())

    def finish(self, folder, passages):
        """Lets a builder work to its end; returns what it said then."""
        self.start(folder, passages)
        messages = self.until_ended()
        assert messages[-1] == {"status": 0}
        return messages[-2]

    def until_ended(self):
        messages = [self.next()]
        while "status" not in messages[-1]:
            messages.append(self.next())
        return messages

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def server(tiny):
    with closing(Server(tiny)) as server:
        yield server


@contextmanager
def opened(folder):
    with closing(SQLiteStore(folder)) as store:
        yield store


def answers(folder, reranker):
    """What is found with all passages as candidates.

    BM25 scores differ a little: replaced passages count in its statistics until they are merged.
    """
    with PassageIndex.open(folder, reranker) as index:
        return [
            [(r.id, r.margin, r.text, r.metadata) for r in index.search(query, 20, candidates=1000)]
            for query in (QUERY, "p 7-1", "glass lamp winter")
        ]


def fresh_candidates(folder, reranker):
    """Ids and scores of the first stage, after it has been built from the store alone."""
    shutil.rmtree(folder / "bm25")
    with PassageIndex.open(folder, reranker) as index:
        return [(r.id, r.first_stage_score) for r in index.search(QUERY, 100)]


class Never:
    """The same editions, added by a builder that is never killed; how long the parts took."""

    def __init__(self, server, folder, reranker):
        self.folder = folder
        PassageIndex.create(folder, reranker).close()
        self.records, self.answers = [], []
        self.slots = {}  # text -> states
        for number in range(EDITIONS):
            server.start(folder, edition(number))
            began = time.monotonic()
            message = server.next()
            while "committed" in message:
                committed = time.monotonic()
                message = server.next()
            assert message["finished"], message
            self.block_s = (committed - began) / (NUM_PASSAGES / BLOCK)
            self.sync_s = time.monotonic() - committed
            assert server.next() == {"status": 0}
            with opened(folder) as store:
                self.records.append(records(store))
            self.answers.append(answers(folder, reranker))
        for found in self.records:
            self.slots |= {record[0]: record[2:] for record in found.values()}


@pytest.fixture(scope="module")
def never_killed(server, tmp_path_factory, reranker):
    return Never(server, tmp_path_factory.mktemp("never") / "index", reranker)


def check_after_kill(folder, before, target, num_acknowledged, slots):
    """Returns what is stored, after holding it against what was there and what was promised."""
    with opened(folder) as store:
        found = records(store)  # raises where a record is torn
        assert store.counts().num_passages == len(found)
    assert before.keys() <= found.keys()
    for name, (text, metadata, *states) in found.items():
        assert tuple(states) == slots[text]
        old = before.get(name, (None, None))[:2]
        # A commit of texts and one of metadata may be one block apart.
        assert text in (old[0], target[name][0])
        assert metadata in (old[1], target[name][1])
        if old == target[name]:
            assert (text, metadata) == old, "what was committed went back"
    for name in list(target)[:num_acknowledged]:
        assert found[name][:2] == target[name], "what was acknowledged is not there"
    return found


def kill(server, folder, passages, *, after_passages, seconds):
    """Kills a builder some time after it acknowledged some passages.

    Returns whether it was killed, and how many passages it had acknowledged.
    """
    pid = server.start(folder, passages)
    acknowledged, messages = 0, []
    while acknowledged < after_passages:
        messages.append(server.next())
        acknowledged = messages[-1].get("committed", len(passages))
    time.sleep(seconds)
    if not messages or "status" not in messages[-1]:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, signal.SIGKILL)
        messages += server.until_ended()
    acknowledged = max([m["committed"] for m in messages if "committed" in m], default=0)
    assert messages[-1]["status"] in (0, -signal.SIGKILL)
    return messages[-1]["status"] == -signal.SIGKILL, acknowledged


def test_a_builder_killed_thirty_times_in_a_row_ends_with_the_same_index(
    server, never_killed, tmp_path, reranker
):
    generator = random.Random(5)
    folder = tmp_path / "index"
    PassageIndex.create(folder, reranker).close()
    before, kills, in_the_middle = {}, 0, 0
    for number in range(EDITIONS):
        passages = edition(number)
        target = {name: record[:2] for name, record in never_killed.records[number].items()}
        # Spread over the whole of the work, commits included; the last ones hit the BM25 index.
        moments = [
            (int(NUM_PASSAGES * (part + generator.random()) / KILLS_WHILE_ADDING),
             generator.uniform(0, 2 * never_killed.block_s))
            for part in range(KILLS_WHILE_ADDING)
        ]  # fmt: skip
        moments[0] = (0, generator.uniform(0, 2 * never_killed.block_s))
        moments += [
            (NUM_PASSAGES, generator.uniform(0, 0.7 * never_killed.sync_s))
            for _ in range(KILLS_WHILE_SYNCING)
        ]
        for after_passages, seconds in moments:
            was_killed, acknowledged = kill(
                server, folder, passages, after_passages=after_passages, seconds=seconds
            )
            kills += was_killed
            before = check_after_kill(folder, before, target, acknowledged, never_killed.slots)
            num_done = sum(before[name][:2] == target[name] for name in before)
            in_the_middle += was_killed and acknowledged > 0 and num_done < len(target)
        resume(server, folder, passages)
        with PassageIndex.open(folder, reranker) as index:
            assert index.verify().ok
        with opened(folder) as store:
            before = records(store)
        assert before == never_killed.records[number]
        assert answers(folder, reranker) == never_killed.answers[number]
    assert kills >= 30
    assert in_the_middle >= 20
    # Keys, which break ties, are the same as well.
    assert fresh_candidates(folder, reranker) == fresh_candidates(never_killed.folder, reranker)


def resume(server, folder, passages):
    """Finishes the work, and asserts that nothing committed is encoded for it."""
    with opened(folder) as store:
        known = store.known([name for name, *_ in passages])
        last_change = store.last_change()
    stale = [
        name
        for name, text, _ in passages
        if name not in known or known[name].text_hash != text_hash(text)
    ]
    done = server.finish(folder, passages)
    assert done["encoded"] == len(stale) == done["added"] + done["replaced"]
    assert done["unchanged"] + done["metadata_updated"] == len(passages) - len(stale)
    with opened(folder) as store:
        assert store.last_change() == last_change + len(passages) - done["unchanged"]
