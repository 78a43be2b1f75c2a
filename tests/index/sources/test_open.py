import os
import sys
import threading

import pytest

from kalm_reranker.errors import DataFileError, InvalidOptionError
from kalm_reranker.index.sources.open import FORMATS, open_source
from kalm_reranker.store.passage import Passage
from tests.index.sources.reading import pairs, read_all, write

LINE = '{"id": "1", "text": "x"}\n'


@pytest.mark.parametrize(
    "name", ["x.txt", "x", "x.jsonl.bz2", "x.gz", "x.parquet.gz", "x.jsonl.zip"]
)
def test_an_unknown_name_is_refused_with_the_formats(tmp_path, name):
    path = write(tmp_path / name, LINE)
    with pytest.raises(DataFileError, match=r"\.jsonl, \.ndjson, .* jsonl, beir, tsv, csv, parqu"):
        open_source(str(path))


@pytest.mark.parametrize("name", ["x.json", "x.JSON", "x.json.gz"])
def test_a_json_document_is_refused(tmp_path, name):
    path = write(tmp_path / name, "[]")
    with pytest.raises(DataFileError, match="a JSON document is not read line by line"):
        open_source(str(path))


def test_a_format_goes_before_the_name(tmp_path):
    path = write(tmp_path / "x.json", LINE)
    assert pairs(read_all(path, format="jsonl")) == [("1", "x")]
    assert pairs(read_all(write(tmp_path / "x.txt", "1\tx\n"), format="tsv")) == [("1", "x")]
    write(tmp_path / "folder" / "corpus.jsonl", LINE)
    write(tmp_path / "folder" / "a.txt", "a")
    assert pairs(read_all(tmp_path / "folder", format="folder")) == [("a.txt", "a")]


@pytest.mark.parametrize("location", ["nothing.jsonl", "nothing", "", "a\0b", "\ud800"])
@pytest.mark.parametrize("format", FORMATS)
def test_nothing_there(tmp_path, monkeypatch, location, format):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataFileError, match=r"cannot be read: No such file|is no path"):
        open_source(location, format=format)


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "nothing.csv"
    with pytest.raises(DataFileError, match=r"nothing\.csv cannot be read: No such file.*Check"):
        open_source(str(path))


def test_files_and_directories_are_not_mixed_up(tmp_path):
    path = write(tmp_path / "x.jsonl", LINE)
    for format in ("jsonl", "tsv", "csv", "parquet"):
        with pytest.raises(DataFileError, match="is a directory; the format"):
            open_source(str(tmp_path), format=format)
    for format in ("beir", "folder"):
        with pytest.raises(DataFileError, match="is no directory; the format"):
            open_source(str(path), format=format)
    with pytest.raises(DataFileError, match=r"holds no corpus\.jsonl"):
        open_source(str(tmp_path), format="beir")


def test_unknown_formats_are_refused():
    with pytest.raises(InvalidOptionError, match=r"one of auto, jsonl.*; got 'xml'"):
        open_source("-", format="xml")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("id,text", "must be a list of strings; got 'id,text'"),
        (["id", 3], "must be a list of strings"),
        ([], "expected a column for the id"),
        (["id", "body"], 'expected a column "text"'),
        (["text", "-"], "expected a column for the id"),
        (["id", "text", "id"], "got 'id' twice"),
    ],
)
def test_unusable_columns_are_refused(tmp_path, columns, message):
    path = write(tmp_path / "x.tsv", "1\tx\n")
    with pytest.raises(InvalidOptionError, match=message):
        open_source(str(path), columns=columns)


def test_columns_are_for_tables_only(tmp_path):
    path = write(tmp_path / "x.jsonl", LINE)
    with pytest.raises(InvalidOptionError, match="columns are for tsv and csv files; this is json"):
        open_source(str(path), columns=["id", "text"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_read_once_and_not_by_counting(tmp_path):
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    source = open_source(str(pipe))
    assert source.count() is None
    end = os.open(pipe, os.O_RDWR)  # reader and writer in one, so that it does not wait for one
    os.write(end, LINE.encode())
    # The pipe ends when its last writer has gone, and must not before it was opened.
    threading.Timer(0.5, os.close, [end]).start()
    assert list(source) == [Passage("1", "x")]


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_name_that_is_no_utf8_can_be_shown(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.jsonl"
    with open(path, "wb") as file:
        file.write(LINE.encode() + b"{\n")
    source = open_source(os.fsdecode(path))
    passage, problem = source
    assert passage == Passage("1", "x")
    for text in (source.name, problem.where, str(problem.error)):
        assert r"caf\udce9.jsonl" in text.encode("utf-8").decode()


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_ends_the_source(tmp_path):
    path = write(tmp_path / "x.jsonl", LINE)
    path.chmod(0)
    with pytest.raises(DataFileError, match="cannot be read: Permission denied"):
        list(open_source(str(path)))


def test_a_device_that_fails_ends_the_source():
    if not os.path.exists("/proc/self/mem"):
        pytest.skip("needs Linux")
    with pytest.raises(DataFileError, match="/proc/self/mem cannot be read: Input/output error"):
        list(open_source("/proc/self/mem", format="tsv"))
