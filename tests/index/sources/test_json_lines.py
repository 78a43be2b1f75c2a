import gzip
import json
import re

import pytest

from kalm_reranker.errors import DataFileError
from kalm_reranker.index.sources.open import open_source
from kalm_reranker.index.sources.record import SourceProblem
from kalm_reranker.store.passage import Passage
from tests.index.sources.reading import pairs, read, read_all, write


def corpus(tmp_path, *lines, name="corpus.jsonl", gzipped=False):
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    return write(tmp_path / name, b"".join(line + b"\n" for line in raw), gzipped=gzipped)


GOOD = '{"id": "1", "text": "one"}'
LAST = '{"id": "9", "text": "nine"}'


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("name", ["corpus.jsonl", "Corpus.NDJSON"])
def test_a_file_is_read(tmp_path, name, gzipped):
    path = corpus(tmp_path, GOOD, LAST, name=name, gzipped=gzipped)
    source = open_source(str(path))
    assert source.name == str(path)
    assert list(source) == [Passage("1", "one"), Passage("9", "nine")]
    assert list(source) == list(source)  # a file can be read again
    assert source.count() == (None if gzipped else 2)


def test_title_text_and_metadata(tmp_path):
    records = [
        {"id": "1", "title": " Gravity ", "text": "attracts. "},
        {"id": "2", "title": None, "text": ""},
        {"id": "3", "title": "", "text": " x ", "url": "u", "n": [1, None]},
        {"id": "4", "title": "T", "text": "x", "lang": "de", "metadata": {"lang": "en", "k": {}}},
        {"id": "5", "title": "T", "text": "x", "metadata": {"title": "other"}},
        {"id": "6", "text": "x", "metadata": None},
    ]
    assert read_all(corpus(tmp_path, *map(json.dumps, records))) == [
        Passage("1", "Gravity attracts.", {"title": "Gravity"}),
        Passage("2", ""),
        Passage("3", "x", {"url": "u", "n": [1, None]}),
        Passage("4", "T x", {"lang": "en", "k": {}, "title": "T"}),
        Passage("5", "T x", {"title": "other"}),
        Passage("6", "x"),
    ]


def test_ids_under_several_names(tmp_path):
    lines = [
        f'{{"{field}": "{field}", "text": ""}}' for field in ("id", "_id", "docid", "doc_id", "pid")
    ]
    path = corpus(tmp_path, *lines, '{"id": 17, "text": ""}', '{"id": -5, "text": ""}')
    ids = [passage.id for passage in read_all(path)]
    assert ids == ["id", "_id", "docid", "doc_id", "pid", "17", "-5"]


def test_the_first_of_two_ids_is_the_id_and_the_other_is_metadata(tmp_path):
    path = corpus(
        tmp_path,
        '{"pid": "b", "_id": "a", "text": ""}',
        '{"id": null, "_id": 0, "text": ""}',
    )
    assert read_all(path) == [Passage("a", "", {"pid": "b"}), Passage("0", "", {"id": None})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "x"}', r'expected an id in "id" \(or "_id", "docid", .*got the fields.*Give'),
        ('{"id": null, "text": "x"}', 'expected an id in "id"'),
        ('{"id": true, "text": "x"}', 'a string or an integer in "id"; got True'),
        ('{"_id": 1.0, "text": "x"}', r'a string or an integer in "_id"; got 1\.0'),
        ('{"id": ["1"], "text": "x"}', 'a string or an integer in "id"'),
        ('{"id": "", "text": "x"}', "id must hold at least one character"),
        ('{"id": "%s", "text": "x"}' % ("x" * 40_000), "id must have at most 32,768 bytes"),
        ('{"id": "1"}', 'expected a string in "text"; got no such field'),
        ('{"id": "1", "text": null}', 'expected a string in "text"; got None'),
        ('{"id": "1", "text": 3}', 'expected a string in "text"; got 3'),
        ('{"id": "1", "text": "x", "title": 3}', 'string or null in "title"; got 3'),
        ('{"id": "1", "text": "x", "metadata": []}', r'an object in "metadata"; got \[\]'),
        ('{"id": "1", "text": "x", "n": NaN}', "metadata must be values that JSON can write"),
        ('{"id": "1", "text": "\\ud800"}', "text holds a lone surrogate"),
        ('{"id": "\\udfff", "text": ""}', "id holds a lone surrogate"),
        ('{"id": "1", "text": "x", "\\ud800": 1}', "metadata must be values that JSON can write"),
        ('{"id": "1", "title": "\\ud800", "text": ""}', "lone surrogate"),
        ('{"id": "1", "text": ', "expected one JSON object; Expecting value"),
        ('["1", "x"]', "expected one JSON object; got"),
        ('"x"', "expected one JSON object; got"),
        ("null", "expected one JSON object; got"),
        ('{"id": "1", "text": "x"} trailing', "expected one JSON object; Extra data"),
        ('{"id": ' + "9" * 5000 + ', "text": ""}', "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"id": "1", "text": "a\0b"}', "got a NUL at character 23"),
        ("\0\0\0", "got a NUL at character 1"),
        (b'{"id": "1", "text": "\xff"}', "byte 0xff at column 22 is not"),
        (b'{"id": "1", "text": "\xed\xa0\x80"}', "expected UTF-8 text; byte 0xed"),
        (b'{"id": "1", "text": "caf\xe9"}', "Convert the file to UTF-8"),
    ],
)
def test_a_bad_line_is_a_problem_and_the_next_lines_are_read(tmp_path, line, message):
    path = corpus(tmp_path, GOOD, line, "", LAST)
    passages, messages, places = read(path)
    assert pairs(passages) == [("1", "one"), ("9", "nine")]
    assert places == [f"{path}, line 2"]
    assert messages[0].startswith(f"{path}, line 2:")
    assert re.search(message, messages[0])


def test_problems_stand_where_the_records_would(tmp_path):
    path = corpus(tmp_path, "{", GOOD, "{", LAST, "{")
    kinds = [isinstance(record, SourceProblem) for record in open_source(str(path))]
    assert kinds == [True, False, True, False, True]


def test_a_problem_does_not_keep_the_line_alive(tmp_path):
    path = corpus(tmp_path, b'{"id": "1", "text": "\xff"}', '{"id": 1')
    for problem in open_source(str(path)):
        assert problem.error.__traceback__ is None
        assert problem.error.__cause__ is None
        assert problem.error.__context__ is None


def test_byte_order_mark_line_ends_and_empty_lines(tmp_path):
    data = f"\ufeff{GOOD}\r\n\r\n   \n\n\t\n{LAST}".encode()
    assert pairs(read_all(write(tmp_path / "x.jsonl", data))) == [("1", "one"), ("9", "nine")]


def test_only_newlines_end_a_line(tmp_path):
    text = "a\u2028b\u2029c\x85d"
    line = json.dumps({"id": text, "text": text}, ensure_ascii=False)
    assert read_all(corpus(tmp_path, line)) == [Passage(text, text)]


def test_an_escaped_nul_is_text(tmp_path):
    assert read_all(corpus(tmp_path, r'{"id": "\u0000", "text": "a\u0000b"}')) == [
        Passage("\0", "a\0b")
    ]


@pytest.mark.parametrize("content", ["", "\n", "\ufeff", " \n \n"])
def test_an_empty_file_has_no_passages(tmp_path, content):
    assert read_all(write(tmp_path / "x.jsonl", content)) == []


def test_a_huge_line(tmp_path):
    text = "x" * 20_000_000
    assert pairs(read_all(corpus(tmp_path, json.dumps({"id": "1", "text": text}), LAST))) == [
        ("1", text),
        ("9", "nine"),
    ]


@pytest.mark.parametrize(
    ("content", "lines"), [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2)]
)
def test_lines_are_counted(tmp_path, content, lines):
    assert open_source(str(write(tmp_path / "x.jsonl", content))).count() == lines


def test_a_file_that_was_cut_off_inside_gzip_ends_the_source(tmp_path):
    packed = gzip.compress("".join(f"{GOOD}\n" for _ in range(50_000)).encode())
    path = write(tmp_path / "x.jsonl.gz", packed[: len(packed) // 2])
    records = iter(open_source(str(path)))
    assert next(records) == Passage("1", "one")
    with pytest.raises(DataFileError, match=r"after line \d+: expected a complete gzip file"):
        list(records)


@pytest.mark.parametrize("data", [b"no gzip at all", gzip.compress(b"x")[:-4] + b"abcd"])
def test_what_is_no_gzip_file_ends_the_source(tmp_path, data):
    path = write(tmp_path / "x.jsonl.gz", data)
    with pytest.raises(DataFileError, match="expected a complete gzip file"):
        list(open_source(str(path)))


def test_a_file_that_vanishes_ends_the_source(tmp_path):
    path = corpus(tmp_path, GOOD)
    source = open_source(str(path))
    path.unlink()
    assert source.count() is None
    with pytest.raises(DataFileError, match="cannot be read: No such file"):
        list(source)


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_beir_directory(tmp_path, gzipped):
    lines = [
        '{"_id": "1", "title": "T", "text": "x", "id": "other"}',
        '{"id": "2", "text": ""}',  # not BEIR's name for it, but there is no doubt
        '{"text": "no id"}',
    ]
    path = corpus(tmp_path / "beir", *lines, gzipped=gzipped)
    write(tmp_path / "beir" / "notes.txt", "no passage")
    for options in ({}, {"format": "beir"}):
        passages, messages, places = read(tmp_path / "beir", **options)
        assert passages == [
            Passage("1", "T x", {"title": "T", "id": "other"}),
            Passage("2", "", None),
        ]
        assert places == [f"{path}, line 3"]
        assert 'expected an id in "_id" (or "id", ' in messages[0]
