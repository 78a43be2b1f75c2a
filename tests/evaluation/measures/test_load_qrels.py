import gzip

import pytest

from kalm_reranker.errors import DataFileError
from kalm_reranker.evaluation.measures.load_qrels import load_qrels

BEIR = "query-id\tcorpus-id\tscore\nq 1\ta\t2\nq 1\tb\t0\nq2\ta\t0\n"
TREC = "q1 0 a 2\nq1 0 b -1\nq2 0 a 0\n"


def test_three_columns(tmp_path):
    file = tmp_path / "qrels.tsv"
    file.write_text(BEIR)
    found = load_qrels(file)
    assert found.qrels == {"q 1": {"a": 2, "b": 0}}
    assert (found.path, found.num_dropped_queries) == (file, 1)


def test_four_columns(tmp_path):
    file = tmp_path / "qrels.txt"
    file.write_text(TREC)
    assert load_qrels(str(file)).qrels == {"q1": {"a": 2, "b": -1}}


@pytest.mark.parametrize("name", ["dev.tsv", "dev.tsv.gz"])
def test_a_directory_has_splits(tmp_path, name):
    (tmp_path / "qrels").mkdir()
    file = tmp_path / "qrels" / name
    file.write_bytes(gzip.compress(BEIR.encode()) if name.endswith(".gz") else BEIR.encode())
    assert load_qrels(tmp_path, split="dev").path == file
    with pytest.raises(DataFileError, match=rf"test\.tsv .* does not exist; .* holds {name}"):
        load_qrels(tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataFileError, match=r"no\.tsv cannot be read"):
        load_qrels(tmp_path / "no.tsv")


def test_contradictions_are_named_with_their_line(tmp_path):
    file = tmp_path / "qrels.txt"
    file.write_text("q1 0 a 2\nq1 0 a 2\nq1 0 a 1\n")
    with pytest.raises(DataFileError, match=r"line 3: expected one judgement .* got 1 after 2"):
        load_qrels(file)


@pytest.mark.parametrize("text", ["", "q1 0 a 0\nq2 0 a -1\n"])
def test_judgements_by_which_nothing_can_be_measured_are_refused(tmp_path, text):
    file = tmp_path / "qrels.txt"
    file.write_text(text)
    with pytest.raises(DataFileError, match="expected judgements above 0"):
        load_qrels(file)
