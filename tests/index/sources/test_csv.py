import csv

import pytest

from kalm_reranker.errors import DataFileError
from kalm_reranker.index.sources import csv_rows
from kalm_reranker.index.sources.open import open_source
from kalm_reranker.store.passage import Passage
from tests.index.sources.reading import pairs, read, read_all, write


def table(tmp_path, content, **options):
    return write(tmp_path / "x.csv", content, **options)


@pytest.mark.parametrize("gzipped", [False, True])
def test_quoted_fields(tmp_path, gzipped):
    path = table(
        tmp_path,
        'id,title,text,url\n1,"A, B","line one\nline ""two""",u\r\n\n2,,plain,\n',
        gzipped=gzipped,
    )
    assert read_all(path) == [
        Passage("1", 'A, B line one\nline "two"', {"title": "A, B", "url": "u"}),
        Passage("2", "plain", {"url": ""}),
    ]


def test_what_the_csv_module_writes_is_read(tmp_path):
    texts = ['a "b", c', "x\ny\r\nz", "tab\there", "ümläut 😀", "a\u2028b", ""]
    path = tmp_path / "x.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["_id", "text"])
        writer.writerows(enumerate(texts))
    assert pairs(read_all(path)) == [(str(number), text) for number, text in enumerate(texts)]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends(tmp_path, line_end):
    path = table(tmp_path, line_end.join(["id,text", "1,a", "", "2,b"]))
    assert pairs(read_all(path)) == [("1", "a"), ("2", "b")]


def test_columns_may_be_named(tmp_path):
    path = table(tmp_path, "D1,skip,body\n")
    assert read_all(path, columns=["id", "-", "text"]) == [Passage("D1", "body")]
    with_header = write(tmp_path / "y.csv", "key,Text\nD1,body\n")
    assert read_all(with_header, columns=["id", "text"]) == [Passage("D1", "body")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,one\n2,two\n", r"line 1: expected a column for the id; got \['1', 'one'\].*name them"),
        ("id;text\n", "expected a column for the id"),
        ("id,body\n", 'expected a column "text"'),
        ("id,text,id\n", "got 'id' twice"),
        (b"id,text,caf\xe9\n", "byte 0xe9 after 3 characters is not"),
        ('id,"text\n', "line 1: expected a closing quote"),
    ],
)
def test_a_header_is_needed(tmp_path, content, message):
    with pytest.raises(DataFileError, match=message):
        read(table(tmp_path, content))


def test_bad_rows_are_problems_and_the_next_rows_are_read(tmp_path):
    path = table(
        tmp_path,
        b'id,text\n1,"two\nlines"\n2\n3,a,b\n4,"caf\xe9\n"\n5,a\0b\n,none\n,\n6,"a"b\n9,nine\n',
    )
    passages, messages, places = read(path)
    assert pairs(passages) == [("1", "two\nlines"), ("9", "nine")]
    assert places == [f"{path}, line {line}" for line in (4, 5, 6, 8, 9, 10, 11)]
    assert "expected 2 fields; got 1. Hint: Put a field that holds a comma into" in messages[0]
    assert "expected 2 fields; got 3" in messages[1]
    assert "byte 0xe9 after 3 characters is not" in messages[2]
    assert "got a NUL at character 2" in messages[3]
    assert "id must hold at least one character" in messages[4]
    assert "id must hold at least one character" in messages[5]
    assert "expected a row of CSV; ',' expected after '\"' (on line 11)" in messages[6]


def test_a_quote_that_is_never_closed_is_a_problem(tmp_path):
    path = table(tmp_path, 'id,text\n1,a\n2,"open\n3,b\n4,c\n')
    passages, messages, places = read(path)
    assert pairs(passages) == [("1", "a")]
    assert places == [f"{path}, line 3"]
    assert "the file ends on line 5 without one, and the lines from here on" in messages[0]


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_rows, "MAX_RECORD_CHARACTERS", 1000)
    path = table(tmp_path, 'id,text\n1,a\n2,"open\n' + "3,some words\n" * 1000)
    records = iter(open_source(str(path)))
    assert next(records) == Passage("1", "a")
    with pytest.raises(DataFileError, match=r"line 3: .* at most 1,000 characters; .*line 80"):
        next(records)


def test_a_huge_field_is_read_and_the_limit_only_rises(tmp_path):
    path = table(tmp_path, "id,text\n1," + "x" * 10_000_000)
    assert len(read_all(path)[0].text) == 10_000_000
    limit = csv.field_size_limit()
    assert limit >= csv_rows.MAX_RECORD_CHARACTERS
    csv.field_size_limit(limit + 1)
    try:
        read_all(path)
        assert csv.field_size_limit() == limit + 1
    finally:
        csv.field_size_limit(limit)


def test_empty_files(tmp_path):
    assert read_all(table(tmp_path, "")) == []
    assert read_all(table(tmp_path, "\ufeff\n\n")) == []
    assert read_all(table(tmp_path, "id,text\n")) == []


def test_a_broken_gzip_file_ends_the_source(tmp_path):
    path = write(tmp_path / "x.csv.gz", b"no gzip")
    with pytest.raises(DataFileError, match="expected a complete gzip file"):
        read(path)


def test_count(tmp_path):
    assert open_source(str(table(tmp_path, "id,text\n1,a\n"))).count() == 2
