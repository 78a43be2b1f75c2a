import subprocess
import sys
import threading

import pytest

from kalm_reranker.errors import DataFileError
from kalm_reranker.index.sources.open import open_source

READ = """
import sys
from kalm_reranker.errors import DataFileError
from kalm_reranker.index.sources.open import open_source
from kalm_reranker.index.sources.record import SourceProblem

try:
    source = open_source("-", format=sys.argv[1])
    assert source.count() is None
    for record in source:
        if isinstance(record, SourceProblem):
            print("problem", record.where, flush=True)
        else:
            print(ascii((record.id, record.text)), flush=True)
    assert not sys.stdin.buffer.closed
except DataFileError as error:
    print("error", error)
assert "torch" not in sys.modules
"""


def command(format):
    return [sys.executable, "-c", READ, format]


@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("auto", b'\xef\xbb\xbf{"id": 1, "text": "a\\u00e4"}\n{\n{"id": "2", "text": "b"}'),
        ("jsonl", b'{"id": 1, "text": "a\xc3\xa4"}\r\n\xff\n{"id": "2", "text": "b"}\n'),
        ("tsv", b"1\ta\xc3\xa4\nx\n2\tb\n"),
        ("csv", b'\xef\xbb\xbfid,text\n1,a\xc3\xa4\n2,"b"\n'),
    ],
)
def test_standard_input_is_read(format, data):
    result = subprocess.run(command(format), input=data, capture_output=True, check=True)
    printed = result.stdout.decode().splitlines()
    expected = [r"('1', 'a\xe4')", "problem standard input, line 2", "('2', 'b')"]
    assert printed == (expected if format != "csv" else expected[::2])
    assert result.stderr == b""


@pytest.mark.parametrize(
    ("format", "data"),
    [("jsonl", b'{"id": "1", "text": "a"}\n'), ("tsv", b"1\ta\n"), ("csv", b"id,text\n1,a\n")],
)
def test_records_come_while_the_writer_is_still_at_work(format, data):
    process = subprocess.Popen(command(format), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    patience = threading.Timer(60, process.kill)
    patience.start()
    with process:
        process.stdin.write(data)
        process.stdin.flush()
        assert process.stdout.readline() == b"('1', 'a')\n"
        patience.cancel()
        process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        ("<&-", "error standard input is closed. Hint: Name a file instead of -."),
        ("0> /dev/null", "error standard input cannot be read: Bad file descriptor."),
    ],
)
def test_standard_input_that_cannot_be_read(redirection, message):
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh"]
    result = subprocess.run([*shell, *command("jsonl")], capture_output=True, check=True)
    assert message in result.stdout.decode()


@pytest.mark.parametrize("format", ["beir", "folder", "parquet"])
def test_formats_that_need_a_file(format):
    with pytest.raises(DataFileError, match=f"jsonl, tsv or csv; got the format {format}"):
        open_source("-", format=format)


def test_a_closed_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataFileError, match="standard input is closed"):
        open_source("-")
