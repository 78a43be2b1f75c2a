"""A tiny random reranker, and an index over a few passages."""

import pytest

from kalm_reranker import KaLMReranker
from kalm_reranker.index.passage_index import PassageIndex
from tests.parity.random_checkpoints import TINY, build_checkpoint

PASSAGES = [
    {"id": "beijing", "text": "Beijing is the capital of China.", "lang": "en", "year": 2020},
    {"id": "gravity", "text": "Gravity attracts bodies toward one another.", "year": 1687},
    {"id": "paris", "title": "Paris", "text": "The capital of France is Paris.", "lang": "en"},
    {"id": "tokyo", "text": "東京は日本の首都です。", "lang": "ja", "year": 2021},
    {"id": "long", "text": "The capital of the long river is far away. " * 40, "lang": "en"},
    {"id": "empty", "text": ""},
]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
    return build_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny", **TINY)


@pytest.fixture(scope="session")
def other_checkpoint(tmp_path_factory):
    return build_checkpoint(tmp_path_factory.mktemp("other") / "other", seed=1, **TINY)


@pytest.fixture(scope="session")
def reranker(tiny_checkpoint):
    return KaLMReranker(tiny_checkpoint, dtype="float32", chunk_size=2, max_length=128)


@pytest.fixture
def index(tmp_path, reranker):
    with PassageIndex.create(tmp_path / "index", reranker) as made:
        made.add(PASSAGES)
        yield made
