"""The benchmark of codecs as a user starts it, and its arithmetic."""

import importlib

import pytest
import torch

from tests.benchmarks.commands import BENCHMARKS, run_benchmark, write_set

CODECS = ["float32", "bf16", "int8", "int4"]
SLOT_BYTES = {"float32": 1024, "bf16": 512, "int8": 260, "int4": 144}  # of pico's 256 values


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codecs")
    sets = [write_set(folder / name) for name in ("one", "two")]
    return run_benchmark("codec_quality.py", *sets, "--ratios", "2,8", "--repool-passages", 4)[1]


def test_every_codec_and_ratio_of_every_set(results):
    assert list(results["sets"]) == ["one", "two"]
    slots_at = {row["ratio"]: row["bytes_a_passage"] / 256 for row in results["mean"][:2]}
    for rows in (*(each["rows"] for each in results["sets"].values()), results["mean"]):
        assert [(row["codec"], row["ratio"]) for row in rows] == [
            (codec, ratio) for codec in CODECS for ratio in (2, 8)
        ]
        for row in rows:
            assert row["stored_ratio"] == 2
            assert row["stored_bytes_a_passage"] < row["file_bytes_a_passage"]
            slots = 4 * row["bytes_a_passage"] / SLOT_BYTES[row["codec"]]  # of four passages
            assert slots == slots_at[row["ratio"]]
            assert 0 < row["ndcg_at_10"] <= 1
            assert row["mean_change_of_margins"] <= row["largest_change_of_margins"]


def test_changes_are_from_float32_at_the_same_ratio(results):
    by_codec = {
        codec: [row for row in results["mean"] if row["codec"] == codec] for codec in CODECS
    }
    assert all(row["largest_change_of_margins"] == 0 for row in by_codec["float32"])
    assert all(0 < row["largest_change_of_margins"] < 0.2 for row in by_codec["int8"])
    assert all(0 < row["largest_change_of_margins"] < 2 for row in by_codec["int4"])


def test_pooling_again_is_pooling(results):
    largest = results["repooling"]["largest"]
    assert list(largest) == CODECS
    assert largest["float32"]["8"] <= 1e-6
    assert largest["float32"]["8"] < largest["bf16"]["8"] < largest["int8"]["8"]
    assert largest["int8"]["8"] < largest["int4"]["8"] < 0.2


def test_stores_of_each_ratio(tmp_path):
    results = run_benchmark(
        "codec_quality.py",
        write_set(tmp_path / "one"),
        *("--ratios", "2,8", "--store-each-ratio", "--repool-passages", 0, "--max-queries", 1),
    )[1]
    rows = results["sets"]["one"]["rows"]
    assert [row["stored_ratio"] for row in rows] == [row["ratio"] for row in rows] == [2, 8] * 4
    assert all(row["bytes_a_passage"] == row["stored_bytes_a_passage"] for row in rows)
    assert results["sets"]["one"]["queries"] == 1
    assert results["repooling"] is None


def test_relative_difference_is_of_each_slot(module):
    relative_difference = module("repooling").relative_difference
    wanted = torch.tensor([[8.0, -100.0], [1.0, 0.5], [0.0, 0.0]])
    slots = torch.tensor([[9.0, -100.0], [1.0, 0.75], [0.0, 0.0]])
    assert relative_difference(slots, wanted) == 0.25
    assert relative_difference(wanted, wanted) == 0


def test_means_keep_the_largest_of_all(module):
    means = module("codec_quality").means
    one = {"codec": "int8", "ratio": 2, "stored_ratio": 2, "ndcg_at_10": 0.5, "largest_x": 1.0}
    other = {**one, "ndcg_at_10": 1.0, "largest_x": 3.0}
    assert means([[one], [other]]) == [{**one, "ndcg_at_10": 0.75, "largest_x": 3.0}]
