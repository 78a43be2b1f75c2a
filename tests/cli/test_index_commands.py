"""`kalm index`, in this process."""

import io
import json
import sys

import pytest

from kalm_reranker.index.passage_index import PassageIndex

LINES = [
    {"id": "beijing", "text": "Beijing is the capital of China.", "year": 2020},
    {"id": "gravity", "text": "Gravity attracts bodies toward one another."},
    {"id": "paris", "title": "Paris", "text": "The capital of France is Paris."},
]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return str(path)


@pytest.fixture
def index(kalm, tmp_path, corpus):
    folder = str(tmp_path / "index")
    assert kalm("index", "create", folder, "--dtype", "float32")[0] == 0
    assert kalm("index", "add", folder, corpus)[0] == 0
    return folder


def test_create_says_what_was_made(kalm, tmp_path):
    folder = str(tmp_path / "index")
    code, out, err = kalm("index", "create", folder, "--codec", "int8", "-r", "4")
    assert (code, out) == (0, "")
    assert f"{folder}: model pico, 4 tokens a state, codec int8" in err
    code, _, err = kalm("index", "create", folder)
    assert code == 1
    assert "error: There is an index in" in err
    assert kalm("index", "create", folder, "--exist-ok", "--codec", "int8", "-r", "4")[0] == 0


def test_add_counts_and_skips_what_is_there(kalm, tmp_path, corpus):
    folder = str(tmp_path / "index")
    kalm("index", "create", folder)
    code, out, _ = kalm("index", "add", folder, corpus)
    assert code == 0
    assert out.startswith(f"{corpus}: 3 added in ")
    assert "passages/s" in out
    _, out, _ = kalm("index", "add", folder, corpus)
    assert f"{corpus}: 0 added, 3 unchanged in " in out
    _, out, _ = kalm("index", "add", folder, corpus, "--json")
    report = json.loads(out)
    assert (report["unchanged"], report["problems"], report["source"]) == (3, 0, corpus)


def test_broken_lines_stop_or_are_skipped_and_listed(kalm, index, tmp_path):
    path = tmp_path / "more.jsonl"
    path.write_bytes(
        b'{"id":"a","text":"one"}\nbroken\n{"id":"b","text":"\xff"}\n{"id":"c","text":""}'
    )
    code, _, err = kalm("index", "add", index, str(path))
    assert code == 1
    assert "more.jsonl, line 2: expected one JSON object" in err
    assert "hint: " in err
    assert "1 passages before the error are in the index; --on-error skip goes past it" in err
    code, out, err = kalm("index", "add", index, str(path), "--on-error", "skip")
    assert code == 0
    assert "1 added, 1 unchanged, 2 that cannot be used" in out
    assert [line.partition(": ")[0] for line in err.splitlines()] == ["skipped", "skipped"]
    assert "line 3" in err
    code, _, err = kalm("index", "add", index, str(path), "--on-error", "ignore")
    assert (code, err) == (1, "error: --on-error must be stop or skip; got 'ignore'.\n")


def test_standard_input_and_columns(kalm, index, tmp_path, monkeypatch):
    lines = io.BytesIO(b'{"id":"stdin","text":"from a pipe"}\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(lines))
    assert "1 added" in kalm("index", "add", index, "-")[1]
    table = tmp_path / "table.tsv"
    table.write_text("t1\tdrop me\tfrom a table\n")
    assert "1 added" in kalm("index", "add", index, str(table), "--columns", "id,-,text")[1]
    _, out, _ = kalm("index", "get", index, "t1", "stdin")
    assert [json.loads(line)["text"] for line in out.splitlines()] == [
        "from a table",
        "from a pipe",
    ]


def test_get_and_delete(kalm, index, tmp_path):
    _, out, _ = kalm("index", "get", index, "paris")
    assert json.loads(out) == {
        "id": "paris",
        "text": "Paris The capital of France is Paris.",
        "metadata": {"title": "Paris"},
    }
    assert kalm("index", "ids", index)[1].split() == ["beijing", "gravity", "paris"]
    code, out, err = kalm("index", "get", index, "nowhere")
    assert (code, out) == (1, "")
    assert "1 of 1 ids are not in the index" in err
    listed = tmp_path / "ids.txt"
    listed.write_text("paris\ngravity\nnowhere\n")
    assert kalm("index", "delete", index, "--ids-from", str(listed))[0] == 1
    code, _, err = kalm("index", "delete", index, "--ids-from", str(listed), "--missing-ok")
    assert (code, err) == (0, "deleted 2 of 3\n")
    assert kalm("index", "delete", index)[0] == 1


def test_info_and_stats_need_no_model(kalm, index):
    _, out, _ = kalm("index", "info", index, "--json")
    info = json.loads(out)
    assert (info["model"], info["codec"], info["num_passages"]) == ("pico", "float32", 3)
    assert "compression ratio" in kalm("index", "info", index)[1]
    _, out, _ = kalm("index", "stats", index, "--json")
    assert json.loads(out)["num_passages"] == 3
    assert "kB a passage" in kalm("index", "stats", index)[1]


def test_verify_finds_damage_and_heals_it(kalm, index, tmp_path, corpus):
    code, out, _ = kalm("index", "verify", index)
    assert code == 0
    assert "3 passages" in out
    assert "all as written" in out
    path = tmp_path / "index" / "passages.sqlite"
    content = bytearray(path.read_bytes())
    position = content.index(b"Gravity attracts")
    content[position] ^= 1
    path.write_bytes(content)
    code, out, err = kalm("index", "verify", index)
    assert code == 1
    assert "DAMAGED" in out
    assert "damaged: passage 'gravity': id, text or metadata are not what was written" in err
    code, out, _ = kalm("index", "verify", index, "--json")
    assert json.loads(out)["ok"] is False
    assert kalm("index", "verify", index, "--drop-damaged")[0] == 1
    assert "1 added, 2 unchanged" in kalm("index", "add", index, corpus)[1]
    assert kalm("index", "verify", index)[0] == 0


def test_compact_and_export(kalm, index, tmp_path):
    assert "MB now" in kalm("index", "compact", index)[2]
    code, _, err = kalm("index", "export", index, str(tmp_path / "out"))
    assert code == 0
    assert "3 passages in 1 shards" in err
    assert kalm("index", "export", index, str(tmp_path / "out"))[0] == 1


@pytest.mark.parametrize(
    "command", ["add", "delete", "get", "stats", "info", "verify", "compact", "export"]
)
def test_a_folder_without_an_index_is_an_error(kalm, tmp_path, command):
    more = {"add": ["x.jsonl"], "delete": ["a"], "get": ["a"], "export": [str(tmp_path / "e")]}
    code, out, err = kalm("index", command, str(tmp_path / "none"), *more.get(command, []))
    assert (code, out) == (1, "")
    assert "error: There is no index in" in err
    assert "hint: Make one: kalm index create" in err


def test_an_interrupted_add_says_what_is_kept(kalm, tmp_path, monkeypatch):
    def add(*arguments, **options):
        raise KeyboardInterrupt

    folder = str(tmp_path / "index")
    kalm("index", "create", folder)
    monkeypatch.setattr(PassageIndex, "add", add)
    code, out, err = kalm("index", "add", folder, "corpus.jsonl")
    assert (code, out) == (130, "")
    assert "interrupted in corpus.jsonl; the index holds 0 passages." in err


def test_an_index_of_windows(kalm, tmp_path):
    folder = str(tmp_path / "index")
    options = ("--long-documents", "windows", "--max-length", "64", "--dtype", "float32")
    code, _, err = kalm("index", "create", folder, *options)
    assert code == 0
    assert "passages read in windows of 64 tokens" in err
    path = tmp_path / "long.jsonl"
    late = "Bodies attract one another. " * 30 + LINES[0]["text"]
    path.write_text("".join(json.dumps(line) + "\n" for line in [{"id": "l", "text": late}]))
    code, out, err = kalm("index", "add", folder, str(path))
    assert (code, "1 added in" in out) == (0, True)
    assert "1 of 1 passages are longer than the model's length limit" in err
    assert "they are kept as 4 windows" in err
    _, out, _ = kalm("index", "add", folder, str(path), "--json")
    assert {k: json.loads(out)[k] for k in ("unchanged", "truncated", "split", "windows")} == {
        "unchanged": 1,
        "truncated": 0,
        "split": 0,
        "windows": 0,
    }
    assert json.loads(kalm("index", "info", folder, "--json")[1])["long_documents"] == "windows"
    code, out, _ = kalm("search", folder, "capital of China?", "--json")
    assert code == 0
    code, _, err = kalm("index", "create", str(tmp_path / "x"), *options[:2], "--max-length", "63")
    assert code == 1
    assert "error: compression_ratio must divide max_length" in err
    assert "hint: " in err
