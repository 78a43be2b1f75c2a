from typing import NamedTuple

import pytest

from kalm_reranker.errors import DataFileError, DatasetUnavailableError, InvalidOptionError
from kalm_reranker.evaluation.data.datasets import resolve_datasets
from kalm_reranker.evaluation.data.from_ir_datasets import check_ir_dataset, load_ir_dataset

ir_datasets = pytest.importorskip("ir_datasets")

# Real ids start with a name; no release has this one.
TOY = "kalm-toy"


class Report(NamedTuple):
    """A document with fields but without a text of ir_datasets' own making."""

    doc_id: str
    abstract: str
    title: str
    year: int


class Reports(ir_datasets.formats.BaseDocs):
    def docs_iter(self):
        yield Report("1", " in short ", "A title", 1999)
        yield Report("2", "", "", 2000)


@pytest.fixture
def register():
    names = []

    def add(name, dataset):
        ir_datasets.registry.register(name, dataset)
        names.append(name)

    yield add
    for name in names:
        del ir_datasets.registry._registered[name]


def toy(tmp_path, *, docs="1\tone\n2\ttwo words\n3\t\n", qrels="q1 0 1 2\nq1 0 9 1\nq2 0 2 0\n"):
    (tmp_path / "docs.tsv").write_text(docs)
    (tmp_path / "queries.tsv").write_text("q1\twhat is one\nq2\twhat is two\n")
    (tmp_path / "qrels.txt").write_text(qrels)
    return ir_datasets.create_dataset(
        docs_tsv=str(tmp_path / "docs.tsv"),
        queries_tsv=str(tmp_path / "queries.tsv"),
        qrels_trec=str(tmp_path / "qrels.txt"),
    )


def test_an_id_is_read(tmp_path, register):
    register(f"{TOY}/test", toy(tmp_path))
    (dataset,) = resolve_datasets([f"irds:{TOY}/test"])
    assert (dataset.name, dataset.split, dataset.instruction) == (f"{TOY}/test", "test", None)
    collection = dataset.load()
    assert collection.name == f"{TOY}/test"
    assert collection.passages == {"1": "one", "2": "two words", "3": ""}
    assert collection.queries == {"q1": "what is one"}
    assert collection.qrels == {"q1": {"1": 2, "9": 1}}
    assert collection.num_dangling_judgements == 1
    assert f"first: '9' on judgement 2 of the judgements of {TOY}/test" in collection.notes[0]


def test_fields_are_joined_in_reading_order(tmp_path, register):
    judged = toy(tmp_path)
    mixed = ir_datasets.Dataset(Reports(), judged.queries_handler(), judged.qrels_handler())
    register(f"{TOY}/reports", mixed)
    collection = load_ir_dataset(f"{TOY}/reports", name="reports")
    assert collection.passages == {"1": "A title in short", "2": ""}
    assert collection.titles == {"1": "A title", "2": ""}


def test_a_misspelt_id_names_the_right_one():
    with pytest.raises(InvalidOptionError, match="no dataset 'beir/scifat/test'") as caught:
        check_ir_dataset("beir/scifat/test")
    assert "'beir/scifact/test'" in caught.value.hint


def test_an_id_without_judgements_names_those_that_have_them():
    with pytest.raises(InvalidOptionError, match="irds:beir/scifact has no judgements") as caught:
        check_ir_dataset("beir/scifact")
    assert caught.value.hint == "These have: irds:beir/scifact/test, irds:beir/scifact/train."


def test_a_failed_download_says_what_to_do(tmp_path, register, monkeypatch):
    util = ir_datasets.util
    monkeypatch.setenv("IR_DATASETS_DL_TRIES", "1")
    nowhere = util.RequestsDownload("http://127.0.0.1:9/docs.tsv", tries=1)
    docs = ir_datasets.formats.TsvDocs(util.Cache(util.Download([nowhere]), tmp_path / "docs"))
    judged = toy(tmp_path)
    register(
        f"{TOY}/away", ir_datasets.Dataset(docs, judged.queries_handler(), judged.qrels_handler())
    )
    (dataset,) = resolve_datasets([f"irds:{TOY}/away"])  # no data are needed to name it
    with pytest.raises(DatasetUnavailableError, match=r"kalm-toy/away could not be .*refused") as e:
        dataset.load()
    assert "IR_DATASETS_HOME" in e.value.hint
    assert isinstance(e.value, OSError)


def test_data_that_were_to_be_put_there_by_hand_are_unavailable(tmp_path, register):
    dataset = toy(tmp_path)
    register(f"{TOY}/gone", dataset)
    (tmp_path / "docs.tsv").unlink()
    with pytest.raises(DatasetUnavailableError, match="FileNotFoundError"):
        load_ir_dataset(f"{TOY}/gone", name="gone")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"docs": "1\tone\n1\tagain\n"}, "two documents have the id '1'"),
        ({"qrels": "q1 0 1\n"}, "could not be read"),
        ({"qrels": "q1 0 7 1\n"}, "of all passages judged relevant none is in it"),
    ],
)
def test_broken_data_are_refused(tmp_path, register, parts, message):
    register(f"{TOY}/broken", toy(tmp_path, **parts))
    with pytest.raises(DataFileError, match=message):
        load_ir_dataset(f"{TOY}/broken", name="broken")
