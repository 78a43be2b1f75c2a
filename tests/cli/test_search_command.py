"""`kalm search`, in this process."""

import io
import json
import sys

import pytest

from kalm_reranker.errors import StoreWriteError
from kalm_reranker.index.passage_index import PassageIndex
from tests.cli.test_index_commands import LINES

QUERY = "What is the capital of China?"


@pytest.fixture
def index(kalm, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    folder = str(tmp_path / "index")
    kalm("index", "create", folder, "--dtype", "float32")
    kalm("index", "add", folder, str(corpus))
    return folder


def test_a_table(kalm, index):
    code, out, err = kalm("search", index, QUERY, "--margin")
    lines = out.splitlines()
    assert code == 0
    assert err == "ordered by score and first stage together (--no-fuse: by score alone)\n"
    assert kalm("search", index, QUERY, "--no-fuse")[2] == ""
    assert lines[0].split() == ["rank", "score", "margin", "id", "passage"]
    assert lines[1].split()[0] == "1"
    assert "beijing" in lines[1]
    assert len(lines) == 3  # gravity shares no word with the query


def test_json_and_explain(kalm, index):
    _, out, err = kalm("search", index, QUERY, "--json", "--explain", "-k", "1")
    (line,) = out.splitlines()
    result = json.loads(line)
    assert result["id"] == "beijing"
    assert result["metadata"] == {"year": 2020}
    assert result["compression_ratio"] == 2
    for part in ("bm25", "read states r=2", "score r=2", "read texts", "together"):
        assert part in err


def test_filter_and_nothing_found(kalm, index):
    _, out, _ = kalm("search", index, "capital", "--filter", "title=Paris", "--json")
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["paris"]
    code, out, err = kalm("search", index, "zzzz")
    assert (code, out, err) == (0, "", "no passage was found\n")


def test_a_file_of_queries_becomes_lines_or_a_run(kalm, index, tmp_path):
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"_id":"q1","text":"capital of China"}\n{"_id":"q2","text":"bodies"}\n')
    code, out, _ = kalm("search", index, "--queries", str(queries))
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {(row["query_id"], row["id"]) for row in found} == {
        ("q1", "beijing"),
        ("q1", "paris"),
        ("q2", "gravity"),
    }
    run = tmp_path / "run.trec"
    assert kalm("search", index, "--queries", str(queries), "--trec", "-o", str(run))[0] == 0
    rows = [line.split() for line in run.read_text().splitlines()]
    assert [row[:4] for row in rows if row[0] == "q2"] == [["q2", "Q0", "gravity", "1"]]
    again = tmp_path / "again.trec"
    code, _, _ = kalm(
        "search", index, "--queries", str(queries), "--rerank", str(run), "--trec", "-o", str(again)
    )
    assert code == 0
    first = again.read_text().split()[2]
    assert first in ("beijing", "paris")


def test_candidates_of_ones_own(kalm, index, tmp_path):
    given = tmp_path / "candidates.jsonl"
    record = {"query_id": "q", "query": QUERY, "candidates": ["gravity", "beijing", "nowhere"]}
    given.write_text(json.dumps(record) + "\n")
    code, out, err = kalm("search", index, "--rerank", str(given))
    assert code == 0
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["beijing", "gravity"]
    assert "note: 1 of 3 ids are not in the index (1 of 1 queries)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give either one query or a file of queries."),
        ([QUERY, "--queries", "q.jsonl"], "Give either one query or a file of queries."),
        ([QUERY, "--cascade", "x"], "--cascade must be COARSE:COUNT"),
        ([QUERY, "--filter", "x"], "--filter must be FIELD=VALUE"),
        ([QUERY, "-r", "3"], "must be a multiple of 2"),
        ([QUERY, "--first-stage", "dense"], "made without them"),
        (["--queries", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--rerank", "run.trec"], "A TREC run names its queries by id only."),
        (["--rerank", "run.trec", "--filter", "a=b"], "--rerank brings them"),
        (["--rerank", "run.trec", "-n", "5"], "--rerank brings them"),
        (["  "], "query must hold some text"),
        ([QUERY, "--trec"], "--trec and --output are for a file of queries."),
        ([QUERY, "-o", "results.jsonl"], "--trec and --output are for a file of queries."),
        (["--queries", "q.jsonl", "--explain"], "--explain is for one query."),
    ],
)
def test_bad_arguments(kalm, index, arguments, message):
    code, out, err = kalm("search", index, *arguments)
    assert (code, out) == (1, "")
    assert "error: " in err
    assert message in err


def test_notes_of_many_queries_are_said_once(kalm, index, tmp_path):
    queries = tmp_path / "queries.tsv"
    queries.write_text("".join(f"q{i}\t{'capital ' * 600}\n" for i in range(3)) + "q9\tbodies\n")
    _, out, err = kalm("search", index, "--queries", str(queries), "-k", "1")
    assert len(out.splitlines()) == 4
    assert err.count("the query was cut at") == 1
    assert "(3 of 4 queries)" in err


def test_a_run_with_ids_that_it_cannot_hold_is_refused(kalm, index, tmp_path):
    spaced = tmp_path / "spaced.jsonl"
    spaced.write_text('{"id": "new one", "text": "capital"}\n')
    kalm("index", "add", index, str(spaced))
    queries = tmp_path / "queries.tsv"
    queries.write_text("q1\tcapital\n")
    code, out, err = kalm("search", index, "--queries", str(queries), "--trec")
    assert (code, out) == (1, "")
    assert "passage id must be a word without white space" in err
    assert "'new one'" in err


def test_an_error_of_a_search_is_not_taken_for_one_of_the_output(
    kalm, index, tmp_path, monkeypatch
):
    def search(*arguments, **options):
        raise StoreWriteError("The disk of the index is full.")

    monkeypatch.setattr(PassageIndex, "search", search)
    queries = tmp_path / "queries.tsv"
    queries.write_text("q1\tcapital\n")
    _, _, err = kalm("search", index, "--queries", str(queries), "-o", str(tmp_path / "out"))
    assert err == "error: The disk of the index is full.\n"


def test_results_of_a_file_are_utf_8_whatever_the_locale(kalm, index, tmp_path, monkeypatch):
    japanese = tmp_path / "ja.jsonl"
    japanese.write_text('{"id": "tokyo", "text": "東京は日本の首都です。"}\n', encoding="utf-8")
    kalm("index", "add", index, str(japanese))
    queries = tmp_path / "queries.tsv"
    queries.write_text("q1\t日本の首都\n", encoding="utf-8")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert kalm("search", index, "--queries", str(queries))[0] == 0
    assert "東京は日本の首都です。" in written.getvalue().decode("utf-8")
