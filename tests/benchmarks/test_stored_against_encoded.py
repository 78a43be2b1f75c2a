"""The comparison of stored and encoded states as a user starts it, and its arithmetic."""

import importlib

import pytest

from tests.benchmarks.commands import BENCHMARKS, run_benchmark, write_set

WAYS = ["rank: candidates encoded", "search: hot tier empty", "search: hot", "rerank: hot"]


def check(results):
    ways = results["ways"]
    assert list(ways) == WAYS
    encoded = ways[WAYS[0]]
    assert encoded["forward_ms"] < encoded["wall_ms"]
    for way in WAYS[1:]:
        row = ways[way]
        assert results["times_faster"][way] == pytest.approx(encoded["wall_ms"] / row["wall_ms"])
        assert 0 < row["forward_ms"] < row["wall_ms"]
        assert 0 < row["outside_scoring_ms"] < row["outside_model_ms"] < row["wall_ms"]
        stages = list(row["stages_ms"])
        searched = ["bm25"] if way.startswith("search") else []
        ratio = results["compression_ratio"]
        expected = [f"read states r={ratio}", f"score r={ratio}", "read texts"]
        assert stages == [*searched, *expected]


def test_pico_on_a_beir_directory(tmp_path):
    collection = write_set(tmp_path / "one")
    process, results = run_benchmark(
        "stored_against_encoded.py", collection, "--queries", 1, "--repeat", 2, "--candidates", 4
    )
    check(results)
    assert results["num_passages"] == 4
    assert results["candidates"] == 3  # of four passages, those with a word of the query
    assert results["largest_difference_of_margins"] < 0.1
    assert "times faster" in process.stdout
    assert results["machine"]["torch_threads"]


def test_a_random_model_with_joined_passages(tmp_path):
    _, results = run_benchmark(
        "stored_against_encoded.py",
        *("--model", "tiny-shape", "--model-folder", tmp_path, "--ratio", 4),
        *("--length", 64, "--passages", 6, "--candidates", 3, "--queries", 1, "--repeat", 1),
    )
    check(results)
    assert results["tokens_a_passage"] == 64
    assert results["candidates"] == 3
    assert results["compression_ratio"] == 4
    assert (tmp_path / "tiny-shape" / "model.safetensors").is_file()


def test_what_is_outside_the_model(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("stored_against_encoded")
    stages = {"bm25": 0.5, "read states r=2": 1.0, "score r=2": 4.0, "read texts": 0.25}
    timing = module.Timing(wall_s=6.0, forward_s=3.0, stages=stages)
    assert timing.outside_scoring_s == 1.5  # 1.25 in stages, and 0.25 between them
    assert timing.outside_model_s == 2.5
