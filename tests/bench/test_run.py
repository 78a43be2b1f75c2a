"""A whole benchmark, on random weights of a tiny shape."""

import dataclasses
import json
import tempfile
from pathlib import Path

import pytest

from kalm_reranker.bench import run
from kalm_reranker.bench.measuring import Job
from kalm_reranker.bench.random_checkpoint import write_random_checkpoint
from kalm_reranker.bench.report import (
    CACHED,
    ENCODED,
    SCHEMA_VERSION,
    STORED,
    TOGETHER,
    BenchReport,
)
from kalm_reranker.bench.run import run_bench
from kalm_reranker.bench.scorers import load_scorers, ways_of
from kalm_reranker.bench.settings import JOINT, OFFICIAL, OURS, BenchSettings
from kalm_reranker.bench.setup import Setup
from kalm_reranker.bench.shapes import SHAPES
from kalm_reranker.errors import InvalidOptionError, MissingExtraError

SMALL = {
    "model": "tiny-shape",
    "lengths": (32,),
    "ratios": (2,),
    "candidates": 2,
    "query_tokens": 4,
    "rounds": 1,
    "warm_up": 0,
    "dtype": "float32",
    "memory": False,
}


def test_every_way_is_measured_at_every_point(tiny_report):
    report = tiny_report
    assert report.lengths == (32, 64)
    assert report.ratio == 4
    assert report.ratios == (2, 4, 8)
    assert {(way.path, way.passages) for way in report.ways} >= {
        (OFFICIAL, ENCODED),
        (OFFICIAL, STORED),
        (JOINT, TOGETHER),
        (OURS, ENCODED),
        (OURS, STORED),
        (OURS, CACHED),
    }
    for way in report.ways:
        for length in report.lengths:
            assert report.find(way, length, report.ratio), (way, length)
        if way.passages not in (ENCODED, TOGETHER):
            for ratio in report.ratios:
                assert report.find(way, 64, ratio), (way, ratio)
    assert all(len(one.seconds) == 2 for one in report.measurements)
    assert all(one.measured == one.candidates == 6 for one in report.measurements)
    assert not report.interrupted


def test_our_margins_are_the_official_ones(tiny_report):
    # Contract of the package, seen from here: what is timed computes the same.
    assert tiny_report.margin_difference < 1e-4


def test_the_prefix_cache_holds_every_candidate_of_every_point():
    settings = BenchSettings(**SMALL | {"lengths": (32, 50), "ratios": (2, 3), "candidates": 9})
    with tempfile.TemporaryDirectory() as folder:
        shape = SHAPES["tiny-shape"]
        setup = Setup.of(settings, write_random_checkpoint(shape, Path(folder), seed=0))
        ways = [way for way in ways_of(setup, [OURS]) if way.passages == CACHED]
        [scorer] = load_scorers(setup, ways)
        works = [setup.workload(setup.documents(n), n, r) for n, r in setup.points]
        assert len(works) == 4
        for _ in range(2):
            for work in works:
                scorer.score(work, 9)
        stats = scorer.prefix_cache_stats
    assert (stats.misses, stats.hits, stats.evictions) == (36, 36, 0)


def test_the_report_goes_to_json_and_back(tiny_report):
    document = json.loads(json.dumps(tiny_report.as_dict()))
    assert document["schema_version"] == SCHEMA_VERSION
    assert all(row["median_s"] >= row["best_s"] > 0 for row in document["measurements"])
    assert document["machine"]["torch"]
    assert BenchReport.from_dict(document) == dataclasses.replace(
        tiny_report, settings=document["settings"]
    )
    assert BenchReport.from_dict(document).as_dict() == document | {
        "lengths": (32, 64),
        "ratios": (2, 4, 8),
    } | {name: tiny_report.as_dict()[name] for name in ("ways", "measurements", "memory", "notes")}
    with pytest.raises(InvalidOptionError, match="schema_version must be 1; got 2"):
        BenchReport.from_dict(document | {"schema_version": 2})


def test_the_formula_meets_the_cross_encoder_at_the_longest_length(tiny_report):
    joint = tiny_report.find(tiny_report.way(JOINT, TOGETHER), 64, tiny_report.ratio)
    cost = tiny_report.analytic
    assert cost.joint(64) * tiny_report.seconds_per_unit == pytest.approx(joint.median_s)
    assert cost.query_tokens == tiny_report.prompt_tokens > 5


def test_an_interrupt_keeps_what_was_measured(monkeypatch):
    ran = []

    def stop_at_last(job, count):
        ran.append(count)
        if len(ran) == 8:  # three calls to estimate each of the first jobs
            raise KeyboardInterrupt
        return true_run(job, count)

    true_run = Job.run
    monkeypatch.setattr(Job, "run", stop_at_last)
    report = run_bench(BenchSettings(**SMALL | {"paths": (OURS,), "limit_s": 600.0}))
    assert report.interrupted
    assert [one.measured for one in report.measurements] == [2, 2, 1]


def test_an_interrupt_before_anything_is_one(monkeypatch):
    def stop(job, count):
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        run_bench(BenchSettings(**SMALL | {"paths": (OURS,)}))


def test_without_transformers_the_official_path_is_left_out_or_refused(monkeypatch):
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    report = run_bench(BenchSettings(**SMALL))
    assert OFFICIAL not in {way.path for way in report.ways}
    assert "official path is left out: transformers is not installed" in report.notes[0]
    with pytest.raises(MissingExtraError, match="official path of the benchmark needs"):
        run_bench(BenchSettings(**SMALL | {"paths": (OFFICIAL,)}))


def test_memory_is_that_of_a_process_of_its_own():
    report = run_bench(BenchSettings(**SMALL | {"paths": (JOINT, OURS), "memory": True}))
    peaks = {one.way: one for one in report.memory}
    assert set(peaks) == set(report.ways)
    for one in peaks.values():
        assert one.device_bytes is None
        assert one.host_bytes is None or 10**8 < one.host_bytes < 5 * 10**9
        assert (one.length, one.candidates) == (32, 2)


def test_a_model_that_does_not_fit_is_refused_before_it_is_written(monkeypatch):
    monkeypatch.setattr("kalm_reranker.bench.resources.available_bytes", lambda device: 10**10)
    said = []
    with pytest.raises(InvalidOptionError, match=r"need about \d\d\.\d GB of memory \(official in"):
        run_bench(BenchSettings(**SMALL | {"model": "large-shape"}), on_stage=said.append)
    assert said == []


def test_caches_that_do_not_fit_are_refused_before_the_model_is_loaded(monkeypatch):
    monkeypatch.setattr("kalm_reranker.bench.resources.available_bytes", lambda device: 2 * 10**9)
    said = []
    with pytest.raises(InvalidOptionError, match="prefix cache"):
        run_bench(
            BenchSettings(**SMALL | {"lengths": (4096,), "ratios": (1,), "candidates": 1000}),
            on_stage=said.append,
        )
    assert [line for line in said if "loading" in line] == []


def test_weights_that_do_not_fit_on_the_disk_are_refused(monkeypatch):
    class Full:
        free = 10**6

    monkeypatch.setattr("shutil.disk_usage", lambda folder: Full)
    with pytest.raises(InvalidOptionError, match=r"random weights take 7 MB in .*; 1 MB is free"):
        run_bench(BenchSettings(**SMALL))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"lengths": ()}, "lengths must name at least one number"),
        ({"lengths": (0,)}, "lengths must be a positive integer; got 0"),
        ({"rounds": 0}, "rounds must be a positive integer"),
        ({"warm_up": -1}, "warm_up must be a whole number of at least 0; got -1"),
        ({"limit_s": 0.0}, "time limit must be a positive number"),
        ({"limit_s": float("nan")}, "time limit must be a positive number"),
        ({"paths": ("ours", "theirs")}, "paths must be some of official, .*; got theirs"),
        ({"paths": ()}, "paths must be some of .*; got none"),
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(InvalidOptionError, match=message):
        BenchSettings(**setting)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"model": "huge-shape"}, "'huge-shape' is no known shape; known are tiny-shape"),
        ({"lengths": (10_000,)}, "lengths must be an integer from 1 to 8192; got 10000"),
        ({"lengths": (1,)}, "--lengths: no text of exactly 1 tokens"),
        ({"dtype": "int3"}, "dtype must be one of"),
    ],
)
def test_settings_that_do_not_fit_the_model(setting, message):
    with pytest.raises(InvalidOptionError, match=message):
        run_bench(BenchSettings(**SMALL | setting))
