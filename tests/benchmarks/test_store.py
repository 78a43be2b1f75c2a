"""The benchmark of the store as a user starts it, with a few passages."""

import importlib
import json

import pytest

from tests.benchmarks.commands import BENCHMARKS, run_benchmark, write_set


def test_a_large_store(tmp_path):
    output = tmp_path / "results" / "store.json"
    process, results = run_benchmark(
        "store.py",
        *("--parts", "large", "--large", 40, "--slots", 3, "--width", 32),
        *("--read", 10, "--draws", 2, "--folder", tmp_path, "--output", output),
    )
    large = results["large"]
    assert large["states_bytes_a_passage"] == 3 * 32 * 2
    assert large["text_bytes_a_passage"] > 100
    parts = large["states_bytes_a_passage"] + large["text_bytes_a_passage"]
    assert large["file_bytes_a_passage_compacted"] > parts
    assert set(large["read"]) >= {"store_states", "packed", "packed_hot", "pooled", "pooled_hot"}
    assert all(0 < way["p50_ms"] <= way["p95_ms"] for way in large["read"].values())
    assert large["changed"] == 10
    for step in ("write_s", "verify_s", "upsert_s", "upsert_one_s", "delete_s", "compact_s"):
        assert large[step] > 0
    assert json.loads(output.read_text()) == results
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    assert "reading 10 random of 40 passages" in process.stdout


def test_growth_in_new_processes(tmp_path):
    _, results = run_benchmark(
        "store.py",
        *("--parts", "growth", "--sizes", "200,50", "--searches", 3, "--hot-bytes", 10_240),
        *("--folder", tmp_path),
    )
    growth = results["growth"]
    assert list(growth["sizes"]) == ["50", "200"]
    for size in growth["sizes"].values():
        assert 0 < size["open_s"]
        assert 0 < size["search_p50_ms"] <= size["search_p95_ms"]
        assert 0 < size["pairs_a_search"] <= 100
        assert 0 < size["hot_bytes_used"] <= 10_240
        assert list(size["memory"]) == [
            "after importing",
            "after opening",
            "with the model",
            "after one search",
            "after 3 searches",
        ]
        assert all(m["rss"] >= m["uss"] > 0 < m["anonymous"] for m in size["memory"].values())


def test_building(tmp_path):
    _, results = run_benchmark(
        "store.py",
        *("--parts", "building", "--data", write_set(tmp_path / "one"), "--folder", tmp_path),
    )
    building = results["building"]
    assert building["passages"] == building["again_unchanged"] == 4
    assert sum(building["shares"].values()) == pytest.approx(1)
    assert sum(building["parts_s"].values()) == pytest.approx(building["seconds"])


def test_an_unknown_part_is_explained(monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    with pytest.raises(SystemExit):
        importlib.import_module("store").parse(["--parts", "huge"])
    assert "'huge' is none of large, growth, building" in capsys.readouterr().err


def test_percentiles_are_values_that_were_measured(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    report = importlib.import_module("report")
    assert report.percentile([5, 1, 4, 2, 3], 95) == 5
    assert report.percentile(list(range(100)), 95) == 94
    assert report.percentile([7], 50) == 7
    assert report.spread_ms([0.001, 0.003, 0.002]) == {"p50_ms": 2.0, "p95_ms": 3.0}


def test_zipf_texts_share_their_words(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    zipf = importlib.import_module("synthetic").ZipfTexts
    words = [word for text in zipf(0, vocabulary=1_000).draw(200, 50) for word in text.split()]
    counts = sorted((words.count(word) for word in set(words)), reverse=True)
    assert counts[0] == pytest.approx(len(words) / 7.49, rel=0.15)  # the harmonic sum of 1,000
    assert counts[0] == pytest.approx(2 * counts[1], rel=0.25)
    assert zipf(0).draw(2, 5) == zipf(0).draw(2, 5)
    assert set(zipf(1, 1_000).draw(1, 400)[0].split()) & set(words[:400])
