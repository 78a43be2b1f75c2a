"""`kalm eval` interrupted and killed at several places, then finished by the same command."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kalm_reranker.evaluation.data.bundled import load_demo_collection
from kalm_reranker.search.run_files import read_trec_run
from tests.evaluation.conftest import write_beir

pytest.importorskip("bm25s")
pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("scipy")

KALM = Path(sys.executable).with_name("kalm")
# Scoring takes a second or two, so that there is something to interrupt.
OPTIONS = (
    *("--ratios", "2,16", "--top-k", "20", "--timed-queries", "0", "--no-blend"),
    *("--max-length", "64", "--dtype", "float32", "--engine", "eager"),
)
LONGEST_WAIT_S = 120

if sys.platform == "win32":
    pytest.skip("needs signals", allow_module_level=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two sets of 14 queries over 40 passages."""
    whole = load_demo_collection()
    folder = tmp_path_factory.mktemp("data")
    ids = list(whole.queries)
    for name, chosen in (("one", ids[:14]), ("two", ids[14:28])):
        judged = [key for query in chosen for key in whole.qrels[query] if key in whole.passages]
        kept = list(dict.fromkeys([*judged, *whole.passages]))[:40]
        # Words of a passage in each query: BM25 finds 20 candidates for every one.
        queries = {query: f"{whole.queries[query]} of the in with cells" for query in chosen}
        write_beir(
            folder / name,
            {key: whole.passages[key][:200] for key in kept},
            queries,
            {query: {k: 1 for k in whole.qrels[query] if k in kept} for query in chosen},
        )
    return folder


class Command:
    """`kalm eval` as a process of its own, in a folder of its own."""

    def __init__(self, data, folder):
        self.out = folder / "out"
        self.errors = folder / "stderr"
        with self.errors.open("w") as errors:
            self._process = subprocess.Popen(
                [str(KALM), "eval", str(data), "--output", "out", *OPTIONS],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            )

    def said(self):
        return self.errors.read_text()

    def wait_for(self, holds):
        """Returns as soon as something holds; an end before that is an error."""
        end = time.monotonic() + LONGEST_WAIT_S
        while not holds(self):
            assert self._process.poll() is None, self.said()
            assert time.monotonic() < end
            time.sleep(0.002)

    def stop(self, number):
        self._process.send_signal(number)
        return self.ended()

    def ended(self):
        return self._process.wait(LONGEST_WAIT_S)


def scoring(dataset, stem):
    """Whether a ranker is at work on a dataset."""
    return lambda command: any((command.out / "datasets" / dataset / "runs").glob(f"{stem}.part*"))


def encoding(dataset):
    return lambda command: any((command.out / "states" / dataset).rglob("passages.sqlite"))


def finished(command):
    return "[1/2] one: pico r=16: scored" in command.said()


def results(out):
    document = json.loads((out / "results.json").read_text())
    for one in document["measurements"]:
        del one["ms_per_query"], one["seconds"]
    return document


MOMENTS = [
    (encoding("one"), signal.SIGKILL),
    (finished, signal.SIGINT),
    (scoring("two", "pico_r=16"), signal.SIGKILL),
]


def run_of(out, dataset, stem):
    return read_trec_run(out / "datasets" / dataset / "runs" / f"{stem}.trec.gz")


def test_the_same_command_ends_as_if_nothing_had_stopped_it(data, tmp_path):
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = Command(data, tmp_path / "whole")
    assert whole.ended() == 0, whole.said()
    for moment, number in MOMENTS:
        command = Command(data, tmp_path / "stopped")
        command.wait_for(moment)
        assert command.stop(number) == (130 if number == signal.SIGINT else -number)
        said = command.said()
        assert "Traceback" not in said
        assert ("the same command goes on" in said) == (number == signal.SIGINT)
    command = Command(data, tmp_path / "stopped")
    assert command.ended() == 0, command.said()
    said = command.said()
    assert "[1/2] one: pico r=2: kept from before" in said
    assert "[2/2] two: pico r=2: kept from before" in said
    assert "[2/2] two: pico r=16: scored in" in said
    assert "goes on" not in said
    assert results(command.out) == results(whole.out)
    for stem in ("BM25", "pico_r=2", "pico_r=16"):
        for query_id, scores in run_of(whole.out, "one", stem).items():
            # Of passages that are encoded with others states differ in their last bits.
            assert run_of(command.out, "one", stem)[query_id] == pytest.approx(scores, abs=1e-4)
        assert run_of(command.out, "two", stem) == run_of(whole.out, "two", stem)
    left = [path.name for path in command.out.rglob("*") if ".part" in path.name]
    assert not left
