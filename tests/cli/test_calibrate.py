"""`kalm calibrate`, and the commands that take what it wrote; in this process."""

import json
import random

import pytest

from kalm_reranker.calibration import Calibration
from kalm_reranker.scoring import score_from_margin
from tests.cli.test_index_commands import LINES

QUERY = "What is the capital of China?"
DOCUMENTS = ["Gravity attracts bodies toward one another.", "The capital of China is Beijing."]
PLACES = ["Paris", "Madrid", "Rome", "Lima", "Oslo"]


@pytest.fixture
def pairs(tmp_path):
    """Capitals: the passage that names the right one, and those that name others."""
    lines = [
        {
            "query": f"What is about {one}?",
            "passage": f"{other} is old.",
            "label": one == other,
        }
        for one in PLACES
        for other in PLACES
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def margins_file(path, count=400):
    rng = random.Random(0)
    with path.open("w") as file:
        for number in range(count):
            margin = rng.gauss(-1, 2)
            label = rng.random() < score_from_margin(1.5 * margin + 0.5)
            line = {"margin": margin, "label": int(label), "query_id": f"q{number // 10}"}
            file.write(json.dumps(line) + "\n")
    return path


def test_from_pairs_to_calibrated_commands(kalm, pairs, tmp_path):
    path = str(tmp_path / "c.json")
    code, out, err = kalm("calibrate", str(pairs), "-p", "0.5", "-o", path, "--dtype", "float32")
    assert code == 0, err
    assert err == f"written: {path}\n"
    assert "25 pairs of 5 queries, 5 relevant (20.0%)" in out
    for part in ("pico, ratio 2, float32", "raw score", "held out", "Thresholds"):
        assert part in out
    assert all(len(line) <= 80 for line in out.splitlines())
    found = Calibration.load(path)
    assert found.origin.model == "pico"
    assert found.data.num_positives == 5

    plain = ("rerank", QUERY, *DOCUMENTS, "--json", "--dtype", "float32")
    before = [json.loads(line) for line in kalm(*plain)[1].splitlines()]
    _, out, err = kalm(*plain, "--calibration", path)
    after = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert [row["score"] for row in after] == [found.score(row["margin"]) for row in before]
    assert [row["raw_score"] for row in after] == [row["score"] for row in before]
    limit = (after[0]["score"] + after[1]["score"]) / 2
    _, out, err = kalm(*plain, "--calibration", path, "--min-score", str(limit))
    assert [json.loads(line)["corpus_id"] for line in out.splitlines()] == [1]
    assert err == f"note: 1 of 2 results score below {limit}\n"


def test_search_takes_it(kalm, pairs, tmp_path):
    path = str(tmp_path / "c.json")
    assert kalm("calibrate", str(pairs), "-o", path, "--dtype", "float32")[0] == 0
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    index = str(tmp_path / "index")
    kalm("index", "create", index, "--dtype", "float32")
    kalm("index", "add", index, str(corpus))
    _, out, _ = kalm("search", index, QUERY, "--json", "--calibration", path)
    rows = [json.loads(line) for line in out.splitlines()]
    found = Calibration.load(path)
    assert [row["score"] for row in rows] == [found.score(row["margin"]) for row in rows]
    assert all(row["raw_score"] != row["score"] for row in rows)
    code, out, err = kalm("search", index, QUERY, "--json", "--min-score", "1")
    assert (code, out) == (0, "")
    assert "note: 2 of 2 results score below 1.0" in err
    assert "no passage was found" not in err
    queries = tmp_path / "queries.tsv"
    queries.write_text("q1\tcapital of China\n")
    _, out, err = kalm("search", index, "--queries", str(queries), "--min-score", "1")
    assert out == ""
    assert "note: 2 of 2 results score below 1.0" in err


def test_margins_need_no_model(kalm, tmp_path):
    path = margins_file(tmp_path / "margins.jsonl")
    output = str(tmp_path / "c.json")
    code, out, _ = kalm("calibrate", str(path), "-m", "none", "-o", output, "--json")
    assert code == 0
    report = json.loads(out)
    assert report["calibration"] == json.loads((tmp_path / "c.json").read_text())
    assert [one["wanted_precision"] for one in report["calibration"]["thresholds"]] == [0.8, 0.9]
    assert report["calibration"]["origin"]["model_fingerprint"] is None
    assert report["calibration"]["slope"] == pytest.approx(1.5, abs=0.5)
    assert sum(one["num_pairs"] for one in report["reliability"]) == 400
    assert any("do not say which model" in note for note in report["notes"])
    code, out, _ = kalm("calibrate", str(path), "-o", output, "--method", "temperature")
    assert (code, Calibration.load(output).intercept) == (0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "1.5"], "error: --precision must be above 0 and at most 1; got 1.5"),
        (["-p", "nan"], "error: --precision must be above 0 and at most 1; got nan"),
        (["--method", "isotonic"], "error: --method must be platt or temperature"),
        (["-o", "/nowhere/c.json"], "error: --output must be a file in a folder that exists"),
        ([], "error: A calibration needs at least 20 labelled pairs; got 3"),
    ],
)
def test_errors_are_a_sentence_and_leave_no_file(kalm, tmp_path, monkeypatch, arguments, message):
    path = margins_file(tmp_path / "margins.jsonl", 3)
    monkeypatch.chdir(tmp_path)
    code, out, err = kalm("calibrate", str(path), *arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert not (tmp_path / "calibration.json").exists()


@pytest.mark.parametrize("score", ["-0.1", "1.1", "nan"])
def test_scores_that_none_can_have(kalm, score):
    code, _, err = kalm("rerank", "q", "d", "--min-score", score)
    assert code == 1
    assert "error: --min-score must be from 0 to 1" in err


def test_a_file_that_is_no_calibration(kalm, tmp_path):
    path = tmp_path / "c.json"
    path.write_text("{}")
    code, out, err = kalm("rerank", "q", "d", "--calibration", str(path))
    assert (code, out) == (1, "")
    assert f"error: {path} is no calibration" in err
    assert "hint: kalm calibrate writes such files." in err
