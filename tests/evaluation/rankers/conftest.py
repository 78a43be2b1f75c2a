import pytest

from kalm_reranker.evaluation.rankers.base import RankingTask
from tests.evaluation.rankers import tiny_models

PASSAGES = {
    "a": "gravity attracts bodies",
    "b": "the capital of china is beijing",
    "c": "red fox",
    "d": "",
    "e": "what is gravity " * 6,
    "f": "red fox",  # the text of c again
    "g": "never a candidate",
}
QUERIES = {"q1": "what attracts bodies", "q2": "red fox"}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    pytest.importorskip("sentence_transformers")
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def cross_encoder(models):
    return tiny_models.save_cross_encoder(models / "cross")


@pytest.fixture(scope="session")
def embedding(models):
    return tiny_models.save_embedding(models / "embedding")


@pytest.fixture(scope="session")
def late_interaction(models):
    return tiny_models.save_late_interaction(models / "late")


@pytest.fixture
def make_task(tmp_path):
    def make(candidates=None, **changes):
        ids = {"q1": "abcd", "q2": "cbef"} if candidates is None else candidates
        values = {
            "dataset": "toy",
            "instruction": None,
            "passages": PASSAGES,
            "queries": QUERIES,
            "candidates": {
                query_id: {key: -float(place) for place, key in enumerate(found)}
                for query_id, found in ids.items()
            },
            "folder": tmp_path / "kept",
        }
        return RankingTask(**{**values, **changes})

    return make
