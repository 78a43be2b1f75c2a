"""Tasks of mteb over the bundled collection; nothing is fetched, nothing written but in tmp."""

import os
from types import SimpleNamespace

import pytest

from kalm_reranker import KaLMReranker
from kalm_reranker.evaluation.data.bundled import load_demo_collection
from kalm_reranker.search.bm25 import BM25FirstStage

NUM_QUERIES = 3
NUM_CANDIDATES = 5
PASSAGE_LENGTH = 240  # characters, so that a test takes a second


@pytest.fixture(scope="session")
def mteb(tmp_path_factory):
    # mteb makes its cache's folder when it is imported.
    before = os.environ.get("MTEB_CACHE")
    os.environ["MTEB_CACHE"] = str(tmp_path_factory.mktemp("mteb"))
    import datasets
    import mteb

    if before is None:
        del os.environ["MTEB_CACHE"]
    else:
        os.environ["MTEB_CACHE"] = before
    datasets.disable_progress_bars()
    return mteb


@pytest.fixture(scope="session")
def data():
    """A part of the demo collection: all candidates of a few queries, and their judgements."""
    collection = load_demo_collection()
    queries = dict(list(collection.queries.items())[:NUM_QUERIES])
    found = BM25FirstStage(collection.passages).search(queries, NUM_CANDIDATES)
    judged = {name: dict(collection.qrels[name]) for name in queries}
    ids = sorted({one for run in (found, judged) for scores in run.values() for one in scores})
    return SimpleNamespace(
        queries=queries,
        candidates={name: list(scores) for name, scores in found.items()},
        qrels=judged,
        titles={name: collection.titles[name] for name in ids},
        passages={name: collection.passages[name][:PASSAGE_LENGTH].strip() for name in ids},
        instructions={name: f"Find abstracts that decide claim {name}." for name in queries},
    )


@pytest.fixture(scope="session")
def pico():
    return KaLMReranker("pico", dtype="float32")


@pytest.fixture(scope="session")
def make_task(mteb, data):
    """Makes a task of the given kind, with candidates or instructions if wanted."""
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    def make(kind="Reranking", *, top_ranked=True, instructions=False, name="LocalClaims"):
        rows = [
            # The collection has joined both; mteb is to do it again.
            {
                "id": one,
                "title": data.titles[one],
                "text": text.removeprefix(data.titles[one]).lstrip(),
            }
            for one, text in data.passages.items()
        ]
        queries = [
            {"id": one, "text": text}
            | ({"instruction": data.instructions[one]} if instructions else {})
            for one, text in data.queries.items()
        ]

        class LocalTask(AbsTaskRetrieval):
            metadata = TaskMetadata(
                name=name,
                description="Claims and abstracts from the bundled collection.",
                reference=None,
                dataset={"path": "kalm-reranker/local", "revision": "1"},
                type=kind,
                category="t2t",
                modalities=["text"],
                eval_splits=["test"],
                eval_langs=["eng-Latn"],
                main_score="ndcg_at_10",
                date=None,
                domains=None,
                task_subtypes=None,
                license=None,
                annotations_creators=None,
                dialect=None,
                sample_creation=None,
                bibtex_citation=None,
            )

            def load_data(self, num_proc=None, **kwargs):
                if self.data_loaded:
                    return
                split = {
                    "corpus": Dataset.from_list(rows),
                    "queries": Dataset.from_list(queries),
                    "relevant_docs": {one: dict(found) for one, found in data.qrels.items()},
                    "top_ranked": dict(data.candidates) if top_ranked else None,
                }
                self.dataset = {"default": {"test": split}}
                self.data_loaded = True

        return LocalTask()

    return make


@pytest.fixture
def evaluate(mteb, tmp_path):
    """Runs the real `mteb.evaluate`; returns the scores of the task and the predictions."""
    import json

    def run(model, task):
        result = mteb.evaluate(
            model,
            task,
            cache=None,
            co2_tracker=False,
            show_progress_bar=False,
            prediction_folder=tmp_path / "predictions",
        )
        (scores,) = result.task_results[0].scores["test"]
        file = tmp_path / "predictions" / f"{task.metadata.name}_predictions.json"
        return scores, json.loads(file.read_text())["default"]["test"]

    return run
