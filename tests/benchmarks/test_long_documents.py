"""The comparison of truncation and windows as a user starts it."""

from tests.benchmarks.commands import run_benchmark, write_set


def test_pico_on_a_beir_directory(tmp_path):
    collection = write_set(tmp_path / "one")
    process, results = run_benchmark(
        "long_documents.py", collection, "--documents", 2, "--parts", 2, "--queries", 2
    )
    assert results["num_documents"] == 2
    assert results["num_queries"] == 2
    rows = results["rows"]
    assert list(rows) == [
        "truncate at 512",
        "windows of 512",
        "windows of 256",
        "truncate at 4096",
        "its passages, each alone",
    ]
    whole = rows["truncate at 512"]
    assert rows["windows of 512"]["num_tokens"] == whole["num_tokens"]  # none is long
    assert rows["its passages, each alone"]["num_sequences"] == 4
    assert all(0 < row["ndcg_at_10"] <= 1 for row in rows.values())
    assert "nDCG@10" in process.stdout
