"""Times in turns, and times that are kept."""

import json
import time
from dataclasses import replace

import pytest
import torch

from kalm_reranker.checkpoints.settings import CascadeSettings
from kalm_reranker.errors import DataFileError
from kalm_reranker.evaluation.kept_times import kept_times
from kalm_reranker.evaluation.line_up import LineUp
from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.rankers.kalm import KaLMModel
from kalm_reranker.evaluation.settings import EvaluationSettings, ratios_of
from kalm_reranker.evaluation.timing import (
    cached_call,
    cascade_call,
    encoded_call,
    evenly,
    median_ms,
    stored_call,
    time_in_turns,
)

PASSAGES = {
    f"p{number}": f"Passage {number} is about {word}."
    for number, word in enumerate(("gravity", "China", "Paris", "foxes", "apples"))
}
QUERIES = {"q1": "gravity", "none": "nothing", "q2": "China", "q3": "apples"}
SETTINGS = EvaluationSettings(
    ratios=(8,), cascades=(CascadeSettings(coarse_ratio=16, fine_ratio=4, fine_count=2),)
)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    found = dict.fromkeys(PASSAGES, 1.0)
    return RankingTask(
        dataset="toy",
        instruction=None,
        passages=PASSAGES,
        queries=QUERIES,
        candidates={"q1": found, "none": {}, "q2": found, "q3": {"p4": 1.0}},
        folder=tmp_path_factory.mktemp("timing") / "states",
    )


@pytest.fixture(scope="module")
def line_up(pico, task):
    line_up = made(pico)
    line_up.models[0].prepare(task)
    yield line_up
    line_up.close()


def made(pico, settings=SETTINGS):
    model = KaLMModel(pico, "pico", ratios_of(settings, pico.compression_ratio))
    return LineUp(settings, [model], [])


def ranker(line_up, ratio):
    return next(one for one in line_up.kalm_rankers(line_up.models[0]) if one.ratio == ratio)


def test_calls_take_turns_on_the_same_queries(task):
    asked, told = [], []

    def call(name):
        def timed(query_id, ids):
            asked.append((name, query_id))
            return float(len(asked))

        return timed

    found = time_in_turns({"a": call("a"), "b": call("b")}, task, 2, on_query=told.append)
    queries = ["q1", "q1", "q2"]  # the first one twice; none without candidates
    assert asked == [(name, query) for query in queries for name in ("a", "b")]
    assert found == {"a": [3.0, 5.0], "b": [4.0, 6.0]}
    assert told == [1, 1, 1]
    assert time_in_turns({"a": call("a")}, replace(task, candidates={"none": {}}), 2) == {"a": []}


def test_queries_are_spread_over_all():
    assert evenly(list("abcdefghij"), 3) == ["a", "d", "g"]
    assert evenly(list("ab"), 3) == ["a", "b"]
    assert evenly([], 3) == []


def test_the_median_is_in_milliseconds():
    assert median_ms([0.004, 0.001, 0.002]) == 2
    assert median_ms([]) is None


class Counted:
    """What a call had the model do."""

    def __init__(self, pico, call, query_id, ids):
        before = pico.stats.as_dict()
        cached = pico.prefix_cache_stats
        start = time.perf_counter()
        self.seconds = call(query_id, ids)
        assert 0 < self.seconds <= time.perf_counter() - start
        after = pico.stats.as_dict()
        self.pairs = after["pairs_scored"] - before["pairs_scored"]
        self.encoded = after["passages_encoded"] - before["passages_encoded"]
        self.hits = pico.prefix_cache_stats.hits - cached.hits
        self.misses = pico.prefix_cache_stats.misses - cached.misses


def test_each_way_does_what_it_says(pico, line_up):
    ids = list(PASSAGES)
    stored = Counted(pico, stored_call(ranker(line_up, 8)), "q1", ids)
    assert (stored.pairs, stored.encoded, stored.hits, stored.misses) == (5, 0, 0, 0)
    encoded = Counted(pico, encoded_call(line_up.models[0], 8), "q1", ids)
    assert (encoded.pairs, encoded.encoded, encoded.hits, encoded.misses) == (5, 5, 0, 0)
    cached = Counted(pico, cached_call(ranker(line_up, 8)), "q1", ids)
    assert (cached.pairs, cached.encoded) == (10, 0)
    assert cached.hits >= 5


@pytest.mark.parametrize(("count", "pairs"), [(2, 5 + 2), (4, 5 + 4), (5, 5), (9, 5)])
def test_a_cascade_of_few_candidates_is_one_fine_pass(pico, line_up, count, pairs, monkeypatch):
    ratios = []
    states = line_up.models[0].states
    read = states.read

    def noted(ids, ratio, codec=None):
        ratios.append(ratio)
        return read(ids, ratio, codec)

    monkeypatch.setattr(states, "read", noted)
    call = cascade_call(ranker(line_up, 16), ranker(line_up, 4), count)
    assert Counted(pico, call, "q1", list(PASSAGES)).pairs == pairs
    assert ratios == ([16, 4] if count < 5 else [4])


@pytest.fixture
def times(tmp_path, pico, line_up, task):
    """Times of a line-up, and how many pairs were scored for them."""

    def times(of=line_up, task_hash="hash", num_queries=2, path=tmp_path / "new" / "times.json"):
        of.models[0].prepare(task)
        before = pico.stats.pairs_scored
        found = kept_times(path, of, task, task_hash, num_queries)
        return found, pico.stats.pairs_scored - before

    return times


def test_times_are_measured_once(times, tmp_path):
    found, pairs = times()
    assert list(found) == ["pico r=4", "pico r=8", "pico r=16", "pico 16:4:2"]
    assert all(ms > 0 for ms in found.values())
    assert pairs == 3 * (3 * 5 + 7)
    assert times() == (found, 0)
    document = json.loads((tmp_path / "new" / "times.json").read_text())
    assert document["ms_per_query"] == found


def test_fewer_rankers_keep_their_times_and_more_measure_all_again(times, pico):
    found, _ = times()
    fewer = made(pico, replace(SETTINGS, cascades=()))
    assert times(fewer) == ({"pico r=8": found["pico r=8"]}, 0)
    fewer.close()
    more = made(pico, replace(SETTINGS, ratios=(8, 32)))
    again, pairs = times(more)
    assert list(again) == ["pico r=4", "pico r=8", "pico r=16", "pico r=32", "pico 16:4:2"]
    assert pairs == 3 * (4 * 5 + 7)
    more.close()


@pytest.mark.parametrize("changes", [{"task_hash": "other"}, {"num_queries": 1}], ids=str)
def test_times_of_something_else_are_measured_again(times, changes):
    times()
    assert times(**changes)[1] > 0


def test_other_threads_measure_again(times):
    times()
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert times()[1] > 0
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("what", ["cpu", "gpu", "torch", "kalm_reranker"])
def test_times_of_another_machine_or_version_are_measured_again(times, tmp_path, what):
    path = tmp_path / "times.json"
    times(path=path, num_queries=1)
    document = json.loads(path.read_text())
    document["made_from"][what] = "another"
    path.write_text(json.dumps(document))
    assert times(path=path, num_queries=1)[1] > 0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", "[" * 100_000, '{"made_from": 1}'])
def test_a_file_that_is_something_else_is_measured_again(times, tmp_path, text):
    path = tmp_path / "times.json"
    path.write_text(text)
    found, pairs = times(path=path, num_queries=1)
    assert pairs > 0
    assert times(path=path, num_queries=1) == (found, 0)


def test_no_time_is_wanted(times, tmp_path):
    assert times(num_queries=0) == ({}, 0)
    assert not (tmp_path / "new").exists()


def test_times_that_cannot_be_kept_are_an_error(times, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFileError, match="cannot be written"):
        times(path=tmp_path / "file" / "times.json")
