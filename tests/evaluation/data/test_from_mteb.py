"""Real tasks of mteb on data that the test writes, read by mteb's own loader."""

import json
from importlib import import_module

import pytest

from kalm_reranker.errors import DataFileError, DatasetUnavailableError, InvalidOptionError
from kalm_reranker.evaluation.data.datasets import resolve_datasets
from kalm_reranker.evaluation.data.from_mteb import collection_of_task, mteb_subsets

pytest.importorskip("mteb")
import datasets
import huggingface_hub
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

NAME = "KalmToyRetrieval"

CORPUS = [
    {"_id": "d1", "title": "Gravity", "text": "attracts bodies."},
    {"_id": "d2", "title": "", "text": " no title "},
    {"_id": "q1", "title": "", "text": "the query itself"},
]
QUERIES = [{"_id": "q1", "text": "what attracts"}, {"_id": "q2", "text": "what has no title"}]
QRELS = [
    {"query-id": "q1", "corpus-id": "d1", "score": 2},
    {"query-id": "q1", "corpus-id": "gone", "score": 1},
    {"query-id": "q2", "corpus-id": "d2", "score": 1},
]
TOP_RANKED = [
    {"query-id": "q1", "corpus-ids": ["d2", "d1", "q1"]},
    {"query-id": "q2", "corpus-ids": ["d2"]},
]
INSTRUCTIONS = [
    {"query-id": "q1", "instruction": "find laws"},
    {"query-id": "q2", "instruction": "find titles"},
]


def hub_folder(path, subset, **tables):
    """Writes the parts of a collection as a dataset repository of mteb's form."""
    path.mkdir(exist_ok=True)
    start = "" if subset == "default" else f"{subset}-"
    listed = []
    for table, rows in tables.items():
        config = table if start or table != "qrels" else "default"
        (path / f"{start}{table}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        listed.append((f"{start}{config}", f"{start}{table}.jsonl"))
    readme = path / "README.md"
    known = readme.read_text().removesuffix("---\n") if readme.exists() else "---\nconfigs:\n"
    for config, file in listed:
        known += f"- config_name: {config}\n  data_files:\n  - split: test\n    path: {file}\n"
    readme.write_text(known + "---\n")


def toy_task(path, *, subsets=("default",), ignores=False, **more):
    languages = ["eng-Latn"]
    metadata = TaskMetadata(
        name=NAME,
        dataset={"path": str(path), "revision": "1"},
        description="A few sentences.",
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=languages if subsets == ("default",) else dict.fromkeys(subsets, languages),
        main_score="ndcg_at_10",
        **more,
    )

    # mteb keeps every class of tasks that is defined; a type built by hand is one like any other.
    return type(NAME, (AbsTaskRetrieval,), {"metadata": metadata, "ignore_identical_ids": ignores})


@pytest.fixture
def known_to_mteb(monkeypatch):
    """Makes a task one that mteb finds by its name, until the test ends."""

    def add(task):
        registry = import_module("mteb.get_tasks")._TASKS_REGISTRY
        monkeypatch.setitem(registry, task.metadata.name, task)

    return add


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    for name in ("HF_DATASETS_CACHE", "HF_MODULES_CACHE"):
        monkeypatch.setattr(datasets.config, name, str(cache / name))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(huggingface_hub.constants, name, str(cache / "hub"))
    # No test waits for a network, whether there is one or not.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def test_a_task_is_read(tmp_path, known_to_mteb):
    hub_folder(tmp_path / "hub", "default", corpus=CORPUS, queries=QUERIES, qrels=QRELS)
    known_to_mteb(toy_task(tmp_path / "hub", prompt={"query": "Given a thing, find it"}))
    (dataset,) = resolve_datasets([f"mteb:{NAME}"])
    assert (dataset.name, dataset.split) == (NAME, "test")
    assert dataset.instruction == "Given a thing, find it"
    assert dataset.group == ("mteb", NAME)
    collection = dataset.load()
    assert collection.name == NAME
    assert collection.passages == {
        "d1": "Gravity attracts bodies.",
        "d2": "no title",
        "q1": "the query itself",
    }
    assert collection.titles == {"d1": "Gravity", "d2": "", "q1": ""}
    assert collection.queries == {"q1": "what attracts", "q2": "what has no title"}
    assert collection.qrels == {"q1": {"d1": 2, "gone": 1}, "q2": {"d2": 1}}
    assert collection.num_dangling_judgements == 1
    assert "'gone' on judgement" in collection.notes[0]
    assert collection.pools is None
    assert not collection.excludes_own_id
    assert collection.query_instructions == {}


def test_candidates_and_instructions_of_queries_are_kept(tmp_path):
    hub_folder(
        tmp_path / "hub",
        "default",
        corpus=CORPUS,
        queries=QUERIES,
        qrels=QRELS,
        top_ranked=TOP_RANKED,
        instruction=INSTRUCTIONS,
    )
    task = toy_task(tmp_path / "hub", ignores=True)()
    collection = collection_of_task(task, subset="default", split="test", name="toy")
    assert collection.excludes_own_id
    assert collection.pools == {"q1": ("d2", "d1"), "q2": ("d2",)}
    assert collection.query_instructions == {"q1": "find laws", "q2": "find titles"}
    assert collection.queries["q1"] == "what attracts"  # without the instruction


def test_subsets_are_datasets_of_their_own(tmp_path, known_to_mteb):
    for subset in ("en", "de"):
        passages = [{**row, "text": f"{subset} {row['text']}"} for row in CORPUS]
        hub_folder(tmp_path / "hub", subset, corpus=passages, queries=QUERIES, qrels=QRELS)
    known_to_mteb(toy_task(tmp_path / "hub", subsets=("en", "de")))
    both = resolve_datasets([f"mteb:{NAME}"])
    assert [one.name for one in both] == [f"{NAME}/en", f"{NAME}/de"]
    assert [one.group for one in both] == [("mteb", NAME)] * 2
    (german,) = resolve_datasets([f"mteb:{NAME}/de"])
    assert german.load().passages["d1"] == "Gravity de attracts bodies."
    assert [one.name for one in resolve_datasets([f"mteb:{NAME}"], languages=["de"])] == [
        f"{NAME}/de"
    ]


def test_tasks_in_the_form_of_mteb_1_are_read():
    class Older(toy_task("nowhere")):
        def load_data(self, **kwargs):
            self.corpus = {"test": {"d1": {"title": "Gravity", "text": "attracts"}, "d2": "bare"}}
            self.queries = {"test": {"q1": "what attracts"}}
            self.relevant_docs = {"test": {"q1": {"d1": 1}}}

    collection = collection_of_task(Older(), subset="default", split="test", name="older")
    assert collection.passages == {"d1": "Gravity attracts", "d2": "bare"}
    assert collection.qrels == {"q1": {"d1": 1}}


def test_the_real_download_fails_with_a_way_out():
    (dataset,) = resolve_datasets(["mteb:SciFact"])
    with pytest.raises(DatasetUnavailableError, match="mteb:SciFact could not be downloaded") as e:
        dataset.load()
    assert e.value.hint == (
        "With a copy: --data FOLDER, where FOLDER/SciFact or FOLDER/scifact holds corpus.jsonl, "
        "queries.jsonl and qrels/test.tsv."
    )


def test_parts_of_a_made_up_task():
    forums = resolve_datasets(["mteb:CQADupstackRetrieval"])
    assert len(forums) == 12
    assert {one.group[:2] for one in forums} == {("mteb", "CQADupstackRetrieval")}
    with pytest.raises(DatasetUnavailableError) as caught:
        forums[0].load()
    assert "FOLDER/cqadupstack/Android" in caught.value.hint


def test_what_mteb_does_not_have():
    with pytest.raises(InvalidOptionError, match="mteb has no task 'SciFactt'") as caught:
        resolve_datasets(["mteb:SciFactt"])
    assert "'SciFact'" in caught.value.hint
    with pytest.raises(InvalidOptionError, match=r"must be a task that ranks texts .* Classific"):
        mteb_subsets("Banking77Classification")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"qrels": [{"query-id": "q1", "corpus-id": "x", "score": 1}]}, "none is in it"),
        ({"corpus": [{"_id": "d1", "body": "?"}]}, "expected columns id and text of its passages"),
        ({"corpus": [*CORPUS, {**CORPUS[0], "text": "else"}]}, "two passages have the id 'd1'"),
        ({"queries": [*QUERIES, QUERIES[0]]}, "two queries have the id 'q1'"),
    ],
)
def test_broken_data_are_refused(tmp_path, tables, message):
    whole = {"corpus": CORPUS, "queries": QUERIES, "qrels": QRELS}
    hub_folder(tmp_path / "hub", "default", **(whole | tables))
    with pytest.raises(DataFileError, match=message):
        collection_of_task(toy_task(tmp_path / "hub")(), subset="default", split="test", name="toy")


def test_a_split_that_is_not_there_is_refused(tmp_path, known_to_mteb):
    hub_folder(tmp_path / "hub", "default", corpus=CORPUS, queries=QUERIES, qrels=QRELS)
    known_to_mteb(toy_task(tmp_path / "hub"))
    (dataset,) = resolve_datasets([f"mteb:{NAME}"], split="dev")
    with pytest.raises(InvalidOptionError, match="must be test; got 'dev'"):
        dataset.load()
