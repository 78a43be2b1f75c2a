import gzip
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker.errors import DataFileError, InputError
from kalm_reranker.search.run_files import (
    CandidateList,
    read_candidates_jsonl,
    read_queries,
    read_trec_run,
    write_trec_run,
)


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        data = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


# Runs


def test_a_run_is_read_whatever_separates_the_columns(write):
    text = "q1 Q0 a 1 2.5 tag\r\nq1\tQ0\tb  2\t-1e-3 tag \n\n q2 Q0 a 1 7 other\n"
    expected = {"q1": {"a": 2.5, "b": -1e-3}, "q2": {"a": 7.0}}
    for name in ("run.trec", "run.trec.gz"):
        assert read_trec_run(write(name, text)) == expected
    assert read_trec_run(write("empty", "")) == {}


def test_ids_may_hold_white_space_that_is_none_of_the_format(write):
    assert read_trec_run(write("run", "q Q0 a\u3000b 1 1 t\n")) == {"q": {"a\u3000b": 1.0}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 a 1 2.0", "expected six columns .* got 5"),
        ("q Q0 a b 1 2.0 tag", "expected six columns .* got 7"),
        ("q Q0 b 1 high tag", "expected a finite number as score; got 'high'"),
        ("q Q0 b 1 nan tag", "expected a finite number as score; got 'nan'"),
        ("q Q0 b 1 inf tag", "expected a finite number as score; got 'inf'"),
        ("q Q0 a 2 1.0 tag", "expected each passage once for a query; 'a' came before"),
    ],
)
def test_a_bad_line_is_named(write, line, message):
    path = write("run", f"q Q0 a 1 2.0 tag\n{line}\n")
    with pytest.raises(DataFileError, match=f"run, line 2: {message}"):
        read_trec_run(path)


def test_a_run_is_written_best_first_with_scores_in_full():
    file = io.StringIO()
    write_trec_run({"q2": {"b": 0.1 + 0.2, "c": 1, "a": 0.1 + 0.2}, "q1": {}}, file, "mine")
    assert file.getvalue() == (
        "q2 Q0 c 1 1.0 mine\n"
        "q2 Q0 a 2 0.30000000000000004 mine\n"
        "q2 Q0 b 3 0.30000000000000004 mine\n"
    )


WORDS = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=5).filter(
    lambda word: not any(char.isspace() for char in word)
)
RUNS = st.dictionaries(
    WORDS,
    st.dictionaries(WORDS, st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    max_size=4,
)


@given(RUNS, st.sampled_from(["run.trec", "run.gz"]))
def test_what_was_written_is_read_again(tmp_path_factory, run, name):
    path = tmp_path_factory.mktemp("runs") / name
    write_trec_run(run, path)
    assert read_trec_run(path) == run


@pytest.mark.parametrize(
    ("run", "tag", "message"),
    [
        ({"q 1": {"a": 1.0}}, "t", "query id must be a word .* got 'q 1'"),
        ({"q": {"a\u3000b": 1.0}}, "t", "passage id must be a word"),
        ({"q": {"": 1.0}}, "t", "passage id must be a word .* got ''"),
        ({"q": {"a": 1.0}}, "my run", "tag must be a word .* got 'my run'"),
        ({"q": {"a": math.nan}}, "t", "score of passage 'a' for query 'q' must be a finite"),
    ],
)
def test_what_cannot_be_written_is_named_and_nothing_written(tmp_path, run, tag, message):
    path = tmp_path / "run.trec"
    with pytest.raises(InputError, match=message):
        write_trec_run({"ok": {"a": 1.0}} | run, path, tag)
    assert not path.exists()


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(DataFileError, match=r"missing/run cannot be written: No such file"):
        write_trec_run({}, tmp_path / "missing" / "run")


# Queries


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q.jsonl", '{"_id": "1", "text": "one"}\n{"id": "2", "query": "two\\tx", "more": 3}\n'),
        ("q.jsonl.gz", '{"id": "1", "text": "one"}\n\n{"_id": "2", "text": "two\\tx"}\n'),
        ("q.tsv", "1\tone\r\n2\ttwo\tx\n"),
        ("q.tsv.gz", "\ufeff1\tone\n2\ttwo\tx"),
        ("q.txt", "1\tone\n2\ttwo\tx"),
    ],
)
def test_queries_are_read(write, name, text):
    queries = read_queries(write(name, text))
    assert queries == {"1": "one", "2": "two\tx"}
    assert list(queries) == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (
            "q.jsonl",
            '{"_id": 2, "text": "x"}',
            'expected a non-empty string in "_id" or "id"; got 2',
        ),
        ("q.jsonl", '{"text": "x"}', 'in "_id" or "id"; got no such field'),
        ("q.jsonl", '{"_id": "2", "text": " "}', 'in "text" or "query"; got \' \''),
        ("q.jsonl", '{"_id": "1", "text": "x"}', "expected a new id; '1' came before"),
        ("q.jsonl", "2\tx", "expected one JSON object"),
        ("q.tsv", "2 x", "expected query id, tab and text; got '2 x'"),
        ("q.tsv", "\tx", "expected query id, tab and text"),
        ("q.tsv", "2\t ", "expected query id, tab and text"),
        ("q.tsv", "1\tx", "expected a new id"),
    ],
)
def test_a_bad_query_is_named(write, name, line, message):
    first = "1\tone" if name.endswith("tsv") else '{"_id": "1", "text": "one"}'
    with pytest.raises(DataFileError, match=f"line 2: .*{message}"):
        read_queries(write(name, f"{first}\n{line}\n"))


# Candidates


def test_candidates_are_read_with_and_without_scores(write):
    path = write(
        "c.jsonl",
        '{"query_id": "q1", "query": "one", "candidates": ["b", "a"]}\n'
        '{"query_id": "q2", "query": "two", "candidates": [{"id": "b", "score": 1},'
        ' {"id": "a", "score": -2.5, "title": "x"}]}\n'
        '{"query_id": "q3", "query": "three", "candidates": [{"id": "b"}, "c"]}\n'
        '{"query_id": "q4", "query": "four", "candidates": []}\n',
    )
    assert read_candidates_jsonl(path) == [
        CandidateList(query_id="q1", query="one", ids=("b", "a"), scores=None),
        CandidateList(query_id="q2", query="two", ids=("b", "a"), scores={"b": 1.0, "a": -2.5}),
        CandidateList(query_id="q3", query="three", ids=("b", "c"), scores=None),
        CandidateList(query_id="q4", query="four", ids=(), scores=None),
    ]


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ('"a"', "expected a list in \"candidates\"; got 'a'"),
        ("[1]", 'expected a non-empty string in "id"; got 1'),
        ('[{"score": 1}]', 'expected a non-empty string in "id"; got no such field'),
        ('["a", {"id": "a"}]', "expected each candidate once; got 'a' twice"),
        (
            '[{"id": "a", "score": 1}, "b"]',
            "expected a score for every candidate or for none; 'b' has none",
        ),
        ('[{"id": "a", "score": NaN}]', "expected a finite number as score; got nan"),
        ('[{"id": "a", "score": true}]', "expected a finite number as score; got True"),
        ('[{"id": "a", "score": [1]}]', "expected a finite number as score"),
        ('[{"id": "a", "score": 1%s}]' % ("0" * 400), "expected a finite number as score"),
    ],
)
def test_bad_candidates_are_named(write, candidates, message):
    line = f'{{"query_id": "q", "query": "x", "candidates": {candidates}}}'
    with pytest.raises(DataFileError, match=f"line 1: {message}"):
        read_candidates_jsonl(write("c.jsonl", line))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query": "x", "candidates": []}', 'expected a non-empty string in "query_id"'),
        ('{"query_id": "r", "candidates": []}', 'expected a non-empty string in "query"'),
        ('{"query_id": "q", "query": "x", "candidates": []}', "expected a new query id; 'q'"),
        ('["q"]', "expected one JSON object"),
    ],
)
def test_a_bad_candidate_line_is_named(write, line, message):
    first = '{"query_id": "q", "query": "x", "candidates": []}'
    with pytest.raises(DataFileError, match=f"line 2: {message}"):
        read_candidates_jsonl(write("c.jsonl", f"{first}\n{line}\n"))
