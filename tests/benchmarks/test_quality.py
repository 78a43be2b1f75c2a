"""The quality benchmark as a user starts it, with the real model on a few passages."""

import importlib
import json
import subprocess
import sys

import pytest

from tests.benchmarks.commands import BENCHMARKS, write_set

SCRIPT = BENCHMARKS / "quality.py"


def quality(*arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality")
    write_set(folder / "data" / "one")
    write_set(folder / "data" / "two")
    output = folder / "results" / "quality.json"
    arguments = ["--data", folder / "data", "--ratios", "4,2", "--output", output]
    return arguments, output, quality(*arguments)


def test_every_set_and_ranker_is_measured(finished):
    _, output, process = finished
    assert process.returncode == 0, process.stderr
    results = json.loads(output.read_text())
    assert list(results["sets"]) == ["one", "two"]
    assert results["settings"]["ratios"] == [2, 4]
    assert results["machine"]["torch"]
    columns = ["BM25", "pico r=2", "BM25 + pico r=2", "pico r=4", "BM25 + pico r=4"]
    for result in results["sets"].values():
        assert list(result["ndcg_at_10"]) == columns
        assert result["num_queries"] == 2
        assert result["candidates_recall_at_100"] == 1
        assert all(0 < value <= 1 for value in result["ndcg_at_10"].values())
        assert result["ndcg_at_10"]["BM25"] == 1


def test_the_last_line_is_json_and_the_table_is_also_markdown(finished):
    _, output, process = finished
    last = json.loads(process.stdout.splitlines()[-1])
    assert last == {
        name: result["ndcg_at_10"]
        for name, result in json.loads(output.read_text())["sets"].items()
    }
    markdown = output.with_suffix(".md").read_text()
    assert "| set | queries | R@100 | BM25 | pico r=2 | pico r=4 |" in markdown
    assert "| mean of 2 | 4 | 1.000 |" in markdown


def test_finished_sets_are_not_run_again(finished):
    arguments, output, _ = finished
    results = json.loads(output.read_text())
    kept = results["sets"]["one"]["ndcg_at_10"]["BM25"] = 0.125  # so that a new run would show
    del results["sets"]["two"]
    output.write_text(json.dumps(results))
    process = quality(*arguments)
    assert process.returncode == 0, process.stderr
    assert "[1/2] one: already in quality.json" in process.stderr
    again = json.loads(output.read_text())
    assert again["sets"]["one"]["ndcg_at_10"]["BM25"] == kept
    assert again["sets"]["two"]["ndcg_at_10"]["BM25"] == 1


def test_results_of_other_settings_are_refused(finished):
    arguments, output, _ = finished
    before = output.read_text()
    process = quality(*arguments, "--top-k", 2)
    assert process.returncode == 1
    assert "holds results for top_k = 100; this run has 2" in process.stderr
    assert "hint: " in process.stderr
    assert output.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no BEIR directories"),
        (["x", "--ratios", "0"], "must be at least 1; got 0"),
        (["x", "--output", "r.txt"], "must end in .json"),
        (["a/x", "b/x"], "two directories have the same name"),
    ],
)
def test_a_wrong_command_line_is_explained(arguments, message, monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    quality_module = importlib.import_module("quality")
    with pytest.raises(SystemExit) as caught:
        quality_module.parse(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_directory_that_is_none_is_a_short_error(tmp_path):
    process = quality(tmp_path / "nowhere", "--output", tmp_path / "r.json")
    assert process.returncode == 1
    assert "corpus.jsonl" in process.stderr
    assert "Traceback" not in process.stderr
