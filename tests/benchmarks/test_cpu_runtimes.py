"""The comparison of CPU runtimes as a user starts it, on a tiny model."""

import importlib
from importlib.util import find_spec

import pytest

from tests.benchmarks.commands import BENCHMARKS, run_benchmark

TORCH = ["torch float32", "torch bfloat16"]
OTHERS = {"ONNX Runtime float32": "onnxruntime", "OpenVINO float32": "openvino"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run_benchmark(
        "cpu_runtimes.py",
        *("--model", "tiny-shape", "--candidates", 3, "--queries", 2, "--slots", 8, "--ratio", 2),
        *("--rounds", 3, "--threads", 1, "--variants", ";".join([TORCH[1], *OTHERS])),
        *("--folder", tmp_path_factory.mktemp("runtimes")),
    )[1]


def test_every_variant_is_told_or_skipped_with_a_reason(results):
    assert list(results["rows"])[:2] == TORCH
    assert {*results["rows"], *results["skipped"]} == {*TORCH, *OTHERS}
    for name, module in OTHERS.items():
        if find_spec(module) is None:
            assert module in results["skipped"][name]


def test_margins_of_every_pair_are_compared_with_float32(results):
    assert results["pairs"] == 6
    rows = results["rows"]
    assert rows["torch float32"]["largest_error"] == 0
    assert rows["torch float32"]["speedup"] == 1
    assert 0 < rows["torch bfloat16"]["mean_error"] < rows["torch bfloat16"]["largest_error"] < 0.5
    for name in OTHERS:
        if name in rows:
            assert rows[name]["largest_error"] < 1e-4
            assert not rows[name]["uses_torch"]


def test_times_and_memory(results):
    for row in results["rows"].values():
        assert 0 < row["best_ms"] <= row["median_ms"]
        assert row["cpu_ms"] > 0
        assert row["resident_mb"] > 10


def test_an_unknown_variant_is_refused(monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    main = importlib.import_module("cpu_runtimes").main
    with pytest.raises(SystemExit):
        main(["--variants", "abacus"])
    assert "no variant 'abacus'; there are torch float32; " in capsys.readouterr().err
