"""The `kalm` command, in this process; tests/end_to_end runs it as users do."""

import json
import os
import sys
from contextlib import suppress

import pytest

from kalm_reranker import __version__
from kalm_reranker.cli.main import main

QUERY = "What is the capital of China?"
DOCUMENTS = ["Gravity attracts bodies toward one another.", "The capital of China is Beijing."]


def test_help_and_version(kalm):
    code, out, _ = kalm("--help")
    assert code == 0
    assert all(command in out for command in ("rerank", "search", "index", "models", "demo"))
    assert kalm("--version") == (0, f"kalm-reranker {__version__}\n", "")


def test_rerank_prints_a_table(kalm):
    code, out, err = kalm("rerank", QUERY, *DOCUMENTS)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].split() == ["rank", "score", "passage"]
    assert lines[1].split()[0] == "1"
    assert DOCUMENTS[1] in lines[1]
    assert DOCUMENTS[0] in lines[2]


def test_rerank_prints_json_lines(kalm):
    code, out, _ = kalm("rerank", QUERY, *DOCUMENTS, "--json", "--top-k", "1")
    (line,) = out.splitlines()
    row = json.loads(line)
    assert code == 0
    assert list(row) == ["rank", "corpus_id", "id", "score", "margin", "text"]
    assert (row["rank"], row["corpus_id"], row["id"]) == (1, 1, None)
    assert row["text"] == DOCUMENTS[1]


def test_rerank_reads_json_lines(kalm, tmp_path):
    path = tmp_path / "passages.jsonl"
    path.write_text(
        '{"id": "g", "text": "Gravity attracts bodies."}\n\n'
        '{"_id": 7, "title": "Beijing", "text": "is the capital of China."}\n'
    )
    code, out, _ = kalm("rerank", QUERY, "--file", str(path), "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["id"] for row in rows] == ["7", "g"]
    assert rows[0]["text"] == "Beijing is the capital of China."
    _, table, _ = kalm("rerank", QUERY, "--file", str(path), "--margin")
    assert table.split()[:5] == ["rank", "score", "margin", "id", "passage"]


def test_rerank_reads_lines_and_arguments_together(kalm, tmp_path):
    path = tmp_path / "passages.txt"
    path.write_text(f"{DOCUMENTS[1]}\r\n\r\n  \nParis is nice.\n")
    _, out, _ = kalm("rerank", QUERY, DOCUMENTS[0], "--file", str(path), "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert sorted((row["corpus_id"], row["text"]) for row in rows) == [
        (0, DOCUMENTS[0]),
        (1, DOCUMENTS[1]),
        (2, "Paris is nice."),
    ]


def test_markup_and_control_characters_are_shown_as_text(kalm):
    _, out, _ = kalm("rerank", QUERY, "a [bold]b[/bold]\x1b[31m\nc")
    assert "a [bold]b[/bold] [31m c" in out
    assert "\x1b[31m" not in out


def test_cuts_are_noted_on_stderr(kalm):
    code, out, err = kalm("rerank", "word " * 40, "word " * 600, "short", "--json")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert "note: the query was cut at 26 tokens" in err
    assert "note: 1 of 2 passages were cut at 512 tokens" in err


def test_options_reach_the_reranker(kalm):
    _, one, _ = kalm("rerank", QUERY, *DOCUMENTS, "--json", "--dtype", "float32")
    _, two, _ = kalm("rerank", QUERY, *DOCUMENTS, "--json", "--dtype", "fp32", "-r", "32")
    _, three, err = kalm(
        "-v", "rerank", QUERY, *DOCUMENTS, "--json", "--instruction", "Find.", "-r", "none"
    )
    assert len({one, two, three}) == 3
    assert "loaded KaLMReranker('pico'" in err
    assert "compression_ratio=1" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["rerank"], 2, "Missing argument"),
        (["rerank", "q", "d", "--top-k", "many"], 2, "Invalid value for '--top-k'"),
        (["rerank", "q"], 1, "error: There are no passages to rank.\nhint: Give them after"),
        (["rerank", "", "d"], 1, "error: query must hold some text; got ''."),
        (["rerank", "q", "d", "-r", "0"], 1, "error: compression_ratio must be a positive"),
        (["rerank", "q", "d", "-r", "x"], 1, "error: --compression-ratio must be a positive"),
        (["rerank", "q", "d", "--model", "nanoo"], 1, "hint: Did you mean 'nano'"),
        (["rerank", "q", "d", "--top-k", "0"], 1, "error: top_k must be a positive integer"),
        (["rerank", "q", "--file", "/nowhere/x.txt"], 1, "error: /nowhere/x.txt cannot be read"),
    ],
)
def test_errors_are_a_sentence_and_an_exit_code(kalm, arguments, code, message):
    got, out, err = kalm(*arguments)
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: expected one JSON object"),
        ("[1]", "line 2: expected one JSON object; got '[1]'"),
        ('{"text": 3}', 'line 2: "text" must be a string; got 3'),
        ('{"text": false}', 'line 2: "text" must be a string; got False'),
        ('{"text": "a", "id": ["l"]}', 'line 2: "id" must be a string or a number'),
        ('{"title": "a"}', 'line 2: expected an object with a string "text"'),
        ('{"id": "\\ud800", "text": "a"}', 'line 2: "id" holds a lone surrogate'),
        ('{"text": ' + "[" * 99_999, "line 2: cannot be read as JSON"),
        ('{"text": "a", "title": 3}', 'line 2: "title" must be a string; got 3'),
    ],
)
def test_broken_lines_are_named(kalm, tmp_path, line, message):
    path = tmp_path / "passages.jsonl"
    path.write_text(f'{{"text": "fine"}}\n{line}\n')
    code, out, err = kalm("rerank", "q", "--file", str(path))
    assert (code, out) == (1, "")
    assert f"{path}, {message}" in err


def test_file_names_decide_how_files_are_read(kalm, tmp_path):
    upper = tmp_path / "passages.JSONL"
    upper.write_text('{"id": null, "_id": "7", "text": "fine"}\n')
    _, out, _ = kalm("rerank", "q", "--file", str(upper), "--json")
    assert json.loads(out)["id"] == "7"
    document = tmp_path / "passages.json"
    document.write_text('[{"text": "fine"}]')
    code, _, err = kalm("rerank", "q", "--file", str(document))
    assert code == 1
    assert "a JSON document is not read line by line" in err


def test_models_lists_every_name(kalm):
    code, out, _ = kalm("models")
    assert code == 0
    for name in ("pico", "nano", "small", "large", "nano-r2", "small-r2", "large-r2"):
        assert name in out
    assert "not for redistribution" in " ".join(out.split())
    _, lines, _ = kalm("models", "--json")
    rows = [json.loads(line) for line in lines.splitlines()]
    assert rows[0]["name"] == "pico"
    assert rows[0]["on_disk_bytes"] > 30e6
    assert rows[1]["hub_id"] == "KaLM-Embedding/KaLM-Reranker-V1-Nano"


def test_rerank_reads_long_passages_in_windows(kalm):
    late = "Bodies attract one another. " * 30 + DOCUMENTS[1]
    options = ("--max-length", "64", "--json")
    code, out, err = kalm("rerank", QUERY, DOCUMENTS[0], late, *options)
    assert (code, json.loads(out.splitlines()[0])["corpus_id"]) == (0, 0)
    assert "1 of 2 passages were cut at 64 tokens (--max-length); --long-documents windows" in err
    code, out, err = kalm(
        "rerank", QUERY, DOCUMENTS[0], late, *options, "--long-documents", "windows"
    )
    assert (code, json.loads(out.splitlines()[0])["corpus_id"]) == (0, 1)
    assert err == "note: 1 of 2 passages were read in 4 windows of 64 tokens\n"
    code, _, err = kalm("rerank", QUERY, late, "--long-documents", "both")
    assert code == 1
    assert "error: long_documents must be one of 'truncate', 'windows'; got 'both'" in err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"GOMP_SPINCOUNT": "1000"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
        ({"GOMP_SPINCOUNT": "5"}, {"GOMP_SPINCOUNT": "5"}),
    ],
)
def test_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch, given, expected):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    # What the command adds is taken back after the test.
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(sys, "argv", ["kalm", "--version"])
    with suppress(SystemExit):
        main()
    assert {name: os.environ[name] for name in names if name in os.environ} == expected
