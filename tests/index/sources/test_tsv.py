import pytest

from kalm_reranker.errors import DataFileError
from kalm_reranker.index.sources.open import open_source
from kalm_reranker.store.passage import Passage
from tests.index.sources.reading import pairs, read, read_all, write


def tsv(tmp_path, content, **options):
    return write(tmp_path / "collection.tsv", content, **options)


@pytest.mark.parametrize("gzipped", [False, True])
def test_two_columns_without_a_header_are_id_and_text(tmp_path, gzipped):
    path = tsv(tmp_path, '0\tThe "presence" of\n1\t"quoted\n2\t\n', gzipped=gzipped)
    assert pairs(read_all(path)) == [("0", 'The "presence" of'), ("1", '"quoted'), ("2", "")]


def test_a_header_names_the_columns(tmp_path):
    path = tsv(tmp_path, "URL\tText\t TITLE \tPID\t\nu\tx y\tT\t7\tdropped\n")
    assert read_all(path) == [Passage("7", "T x y", {"URL": "u", "title": "T"})]


def test_columns_may_be_named(tmp_path):
    path = tsv(tmp_path, "D1\thttp://x\tT\tbody\n")
    named = read_all(path, columns=["docid", "url", "title", "text"])
    assert named == [Passage("D1", "T body", {"url": "http://x", "title": "T"})]
    assert read_all(path, columns=["id", "-", "", "text"]) == [Passage("D1", "body")]


def test_named_columns_go_before_those_of_a_header(tmp_path):
    path = tsv(tmp_path, "docno\ttext\nD1\tbody\n")
    assert read_all(path, columns=["id", "text"]) == [Passage("D1", "body")]
    with pytest.raises(DataFileError, match="as many columns as were named, 3; the header has 2"):
        read(path, columns=["id", "text", "url"])


def test_a_column_named_metadata_is_like_any_other(tmp_path):
    path = tsv(tmp_path, "id\ttext\tmetadata\n1\tx\tm\n")
    assert read_all(path) == [Passage("1", "x", {"metadata": "m"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tb\tc\n", r'header with a column "text", or 2 fields \(id, text\); got 3 fields'),
        ("just words\n", "got 1 fields and no header"),
        ("name\ttext\n1\tx\n", r"line 1: expected a column for the id; got \['name', 'text'\]"),
        ("id\ttext\turl\turl\n", "different names; got 'url' twice"),
        ("id\ttext\ttext\n", "different names; got 'text' twice"),
        ("id\tText\tTEXT\n", 'one column "text"; got Text, TEXT'),
        (b"id\ttext\xff\n1\tx\n", "line 1: expected UTF-8 text"),
        ("id\ttext\0\n", "line 1: expected text; got a NUL"),
        ("id\ttext\n".encode("utf-16"), "line 1: expected UTF-8 text"),
    ],
)
def test_unknown_columns_end_the_source(tmp_path, content, message):
    with pytest.raises(DataFileError, match=message):
        read(tsv(tmp_path, content))


def test_the_exact_name_goes_before_another_spelling(tmp_path):
    path = tsv(tmp_path, "ID\tid\ttext\n1\t2\tx\n")
    assert read_all(path) == [Passage("2", "x", {"ID": "1"})]


def test_bad_rows_are_problems_and_the_next_rows_are_read(tmp_path):
    path = tsv(
        tmp_path,
        b"id\ttext\n1\tone\n2\n3\ta\tb\n4\tcaf\xe9\n5\ta\0b\n\tno id\n\t\n\n   \n9\tnine\n",
    )
    passages, messages, places = read(path)
    assert pairs(passages) == [("1", "one"), ("9", "nine")]
    assert places == [f"{path}, line {line}" for line in (3, 4, 5, 6, 7, 8)]
    assert "expected 2 fields; got 1. Hint: A tab always begins a new field" in messages[0]
    assert "expected 2 fields; got 3" in messages[1]
    assert "byte 0xe9 at column 6 is not" in messages[2]
    assert "got a NUL at character 4" in messages[3]
    assert "id must hold at least one character" in messages[4]
    assert "id must hold at least one character" in messages[5]


def test_a_bad_first_row_is_a_problem_if_columns_are_named(tmp_path):
    passages, messages, _ = read(tsv(tmp_path, b"\xff\n1\tx\n"), columns=["id", "text"])
    assert pairs(passages) == [("1", "x")]
    assert "expected UTF-8 text" in messages[0]


def test_byte_order_mark_and_line_ends(tmp_path):
    path = tsv(tmp_path, "\ufeffid\ttext\r\n1\ta\u2028b\r\n\r\n2\tc")
    assert pairs(read_all(path)) == [("1", "a\u2028b"), ("2", "c")]


def test_empty_files(tmp_path):
    assert read_all(tsv(tmp_path, "")) == []
    assert read_all(tsv(tmp_path, "id\ttext\n")) == []


def test_a_huge_line(tmp_path):
    assert len(read_all(tsv(tmp_path, "1\t" + "x" * 10_000_000))[0].text) == 10_000_000


def test_count(tmp_path):
    assert open_source(str(tsv(tmp_path, "1\ta\n2\tb"))).count() == 2
    assert open_source(str(tsv(tmp_path, "1\ta\n", gzipped=True))).count() is None
