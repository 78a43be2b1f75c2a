import math
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker.errors import DataFileError, InputError
from kalm_reranker.evaluation.measures.per_query import PerQuery, read_per_query, write_per_query

TABLE = PerQuery(
    values={"nDCG@10": {"q2": 1 / 3, "q1": 0.0}, "ROC-AUC": {"q1": 0.1 + 0.2}},
    num_candidates={"q2": 100, "q1": 0},
)


def test_the_file_is_plain_csv(tmp_path):
    write_per_query(tmp_path / "a.csv", TABLE)
    assert (tmp_path / "a.csv").read_text() == (
        '"query_id","num_candidates","nDCG@10","ROC-AUC"\n'
        '"q2",100,0.3333333333333333,""\n'
        '"q1",0,0.0,0.30000000000000004\n'
    )
    assert os.listdir(tmp_path) == ["a.csv"]


def test_reading_gives_the_same_table_back(tmp_path):
    write_per_query(tmp_path / "a.csv", TABLE)
    found = read_per_query(tmp_path / "a.csv")
    assert found == TABLE
    assert list(found.num_candidates) == ["q2", "q1"]


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
AWKWARD = st.sampled_from(
    ["a,b", 'say "x"', "two\nlines", "\r", "\r\n", "", " ", "\0", "\ufeff", "'"]
)


@given(st.lists(st.one_of(AWKWARD, ANY_TEXT), unique=True, max_size=6), st.randoms())
def test_any_id_and_any_value_survive(tmp_path_factory, ids, rng: random.Random):
    path = tmp_path_factory.mktemp("ids") / "a.csv"
    values = {query_id: rng.random() for query_id in ids}
    table = PerQuery(values={"AP": values}, num_candidates={query_id: 3 for query_id in ids})
    write_per_query(path, table)
    assert read_per_query(path) == table


def test_a_table_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.csv"
    write_per_query(path, TABLE)
    before = path.read_bytes()
    odd = PerQuery(values={}, num_candidates={"fine": 1, "\ud800": 1})
    with pytest.raises(InputError, match="text that UTF-8 can hold"):
        write_per_query(path, odd)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_folder_that_is_missing_is_made(tmp_path):
    write_per_query(tmp_path / "new" / "folder" / "a.csv", TABLE)
    assert read_per_query(tmp_path / "new" / "folder" / "a.csv") == TABLE


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(DataFileError, match=r"taken/a\.csv cannot be written: "):
        write_per_query(tmp_path / "taken" / "a.csv", TABLE)
    assert (tmp_path / "taken").read_text() == "a file, not a folder"


def test_queries_without_a_number_of_candidates_are_refused(tmp_path):
    with pytest.raises(InputError, match="AP has 'q' too"):
        write_per_query(tmp_path / "a.csv", PerQuery(values={"AP": {"q": 1}}, num_candidates={}))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected columns query_id, num_candidates"),
        ("query,AP\n", "line 1: expected columns query_id, num_candidates"),
        ("query_id,num_candidates,AP,AP\n", "each once"),
        ("query_id,num_candidates,AP\nq,1\n", "line 2: expected 3 columns; got 2"),
        ('query_id,num_candidates\n"a\nb",1\nq\n', "line 4: expected 2 columns; got 1"),
        ("query_id,num_candidates,AP\nq,1,high\n", r"line 2: expected numbers; got \['1', 'high'"),
        ("query_id,num_candidates\nq,1\nq,1\n", "line 3: expected a new query; 'q' came before"),
        ('query_id,num_candidates\n"q,1\n', "line 2: expected a row of a CSV file"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataFileError, match=message):
        read_per_query(path)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"query_id,num_candidates\n\xff,1\n")
    with pytest.raises(DataFileError, match="expected UTF-8"):
        read_per_query(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataFileError, match=r"no\.csv cannot be read: No such file"):
        read_per_query(tmp_path / "no.csv")


def test_a_value_that_is_no_number_is_kept_as_such(tmp_path):
    table = PerQuery(values={"AP": {"q": math.inf}}, num_candidates={"q": 1})
    write_per_query(tmp_path / "a.csv", table)
    assert read_per_query(tmp_path / "a.csv") == table
