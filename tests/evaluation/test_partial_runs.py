"""Runs that are being made, and what is left of them after an interruption."""

import json
import math

import pytest

from kalm_reranker.errors import DataFileError
from kalm_reranker.evaluation.partial_runs import PartialRun

MADE_FROM = {"ranker": "pico", "sizes": (1, 2)}
SCORES = {
    "q1": {"a": 0.1 + 0.2, "b": -1e-300, "with space\n": 5e-324},
    "q2": {},
    "日本": {"c": 1.7976931348623157e308, "d": math.nextafter(1.0, 2.0), "\ud800": -0.0},
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "pico.part.jsonl"


def written(path, made_from=MADE_FROM, scores=SCORES):
    with PartialRun(path, made_from) as partial:
        for number, (query_id, found) in enumerate(scores.items()):
            partial.add(query_id, found, seconds=number / 3)
    return path.read_bytes()


def reopened(path, made_from=MADE_FROM):
    with PartialRun(path, made_from) as partial:
        return partial.run, partial.seconds


def test_what_was_added_reads_back_as_the_same_numbers(path):
    written(path)
    run, seconds = reopened(path)
    assert run == SCORES
    assert math.copysign(1, run["日本"]["\ud800"]) == -1
    assert seconds == {query_id: number / 3 for number, query_id in enumerate(SCORES)}


def test_an_interruption_keeps_what_was_added_before(path):
    def score_one():
        with PartialRun(path, MADE_FROM) as partial:
            partial.add("q1", SCORES["q1"], 1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_one()
    assert reopened(path)[0] == {"q1": SCORES["q1"]}
    with PartialRun(path, MADE_FROM) as partial:
        partial.add("q2", {"x": 1.0}, 2.0)
    assert reopened(path)[0] == {"q1": SCORES["q1"], "q2": {"x": 1.0}}


def test_a_block_is_on_disk_before_the_end(path):
    with PartialRun(path, MADE_FROM) as partial:
        for number in range(64):
            partial.add(f"q{number}", {"a": float(number)}, 0.0)
        assert len(path.read_bytes().splitlines()) == 65
        partial.add("q64", {"a": 64.0}, 0.0)
        assert len(path.read_bytes().splitlines()) == 65


def test_a_block_of_slow_queries_is_on_disk_soon(path, monkeypatch):
    with PartialRun(path, MADE_FROM) as partial:
        partial.add("q1", {}, 0.0)
        assert len(path.read_bytes().splitlines()) < 2
        partial._written_at -= 6  # as if this long ago
        partial.add("q2", {}, 0.0)
        assert len(path.read_bytes().splitlines()) == 3


@pytest.mark.parametrize("num_lost", [1, 2, 20])
def test_a_line_that_was_cut_off_is_lost_alone(path, num_lost):
    raw = written(path)
    path.write_bytes(raw[:-num_lost])
    assert reopened(path)[0] == {key: SCORES[key] for key in ("q1", "q2")}
    with PartialRun(path, MADE_FROM) as partial:  # goes on at a line of its own
        partial.add("日本", SCORES["日本"], 0.0)
    assert reopened(path)[0] == SCORES


@pytest.mark.parametrize(
    "bad",
    [
        *(b"\x00\x00\x00\n", b"\xff\xfe\n", b"{}\n", b"[]\n", b"null\n", b"{\n", b"\n"),
        *(b'{"query_id": "q", "scores": 1}\n', b'{"query_id": "q", "scores": {"a": "x"}}\n'),
        b'{"query_id": "q", "scores": {"a": NaN}, "seconds": 1}\n',
        b'{"query_id": "q", "scores": {"a": 1}, "seconds": Infinity}\n',
        b"[" * 100_000 + b"\n",
    ],
    ids=range(12),
)
def test_nothing_after_a_bad_line_is_trusted(path, bad):
    raw = written(path)
    lines = raw.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], bad, *lines[2:]]))
    assert reopened(path)[0] == {"q1": SCORES["q1"]}
    assert path.read_bytes() == b"".join(lines[:2])


@pytest.mark.parametrize(
    "before", [b"", b"garbage", b"\xff\n", b"{}\n", b'{"made_from": {"ranker": "pico"}}\n']
)
def test_what_another_run_left_is_replaced(path, before):
    path.parent.mkdir()
    path.write_bytes(before)
    assert reopened(path) == ({}, {})
    written(path)
    assert reopened(path)[0] == SCORES


def test_a_run_of_other_settings_starts_afresh(path):
    written(path)
    other = {**MADE_FROM, "ranker": "nano"}
    assert reopened(path, other) == ({}, {})
    assert json.loads(path.read_text()) == {"made_from": {"ranker": "nano", "sizes": [1, 2]}}


def test_two_processes_do_not_write_over_each_other(path):
    with PartialRun(path, MADE_FROM) as first, PartialRun(path, MADE_FROM) as second:
        first.add("q1", SCORES["q1"], 0.0)
        first.flush()
        second.add("q2", {"x": 1.0}, 0.0)
        second.flush()
        first.add("q3", {"y": 2.0}, 0.0)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    found = [line["query_id"] for line in lines if "query_id" in line]
    assert found[-2:] == ["q2", "q3"]


def test_places_that_cannot_be_written_are_an_error_with_a_way_out(tmp_path, path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(DataFileError, match=r"part\.jsonl cannot be written") as raised:
        PartialRun(path, MADE_FROM).__enter__()
    assert "free space" in raised.value.hint
    folder = tmp_path / "folder.part.jsonl"
    folder.mkdir()
    with pytest.raises(DataFileError, match="cannot be written: Is a directory"):
        PartialRun(folder, MADE_FROM).__enter__()


def test_a_finished_run_leaves_no_partial_one(path):
    with PartialRun(path, MADE_FROM) as partial:
        partial.add("q1", {}, 0.0)
    partial.discard()
    assert not path.exists()
    partial.discard()
