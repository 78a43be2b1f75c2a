"""An index with vectors: a dense first stage, and both first stages together."""

import shutil
import warnings

import numpy as np
import pytest
from tokenizers import Tokenizer

from kalm_reranker.checkpoints.bundled import bundled_checkpoint
from kalm_reranker.errors import StatesMismatchError
from kalm_reranker.index.passage_index import PassageIndex
from tests.index.conftest import PASSAGES

WIDTH = 32


def save_model(folder, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the libraries
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding

        tokenizer = Tokenizer.from_file(str(bundled_checkpoint().tokenizer_path))
        table = np.random.default_rng(seed).normal(size=(tokenizer.get_vocab_size(), WIDTH))
        embedding = StaticEmbedding(tokenizer, embedding_weights=table.astype(np.float32))
        SentenceTransformer(modules=[embedding], device="cpu").save(
            str(folder), create_model_card=False
        )
    return folder


@pytest.fixture(scope="module")
def dense_model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("dense") / "model", 0)


@pytest.fixture
def index(tmp_path, reranker, dense_model):
    with PassageIndex.create(tmp_path / "index", reranker, dense=dense_model) as made:
        made.add(PASSAGES)
        yield made


def first_stage_order(results):
    return [r.id for r in sorted(results, key=lambda r: r.first_stage_rank)]


def test_dense_candidates_are_the_nearest_vectors(index):
    query = "Beijing is the capital of China."
    results = index.search(query, first_stage="dense")
    # Random word vectors: the same words are the same direction.
    assert first_stage_order(results)[0] == "beijing"
    assert len(results) == 6  # every passage has a vector, also one without a common word
    assert results[0].first_stage_score <= 1 + 1e-6


def test_hybrid_is_the_default_and_fuses_by_rank(index):
    query = "the capital of China"
    bm25 = first_stage_order(index.search(query, first_stage="bm25"))
    dense = first_stage_order(index.search(query, first_stage="dense"))
    both = index.search(query)
    assert both.stages[0].name == "hybrid"
    for result in both:
        ranks = [order.index(result.id) + 1 for order in (bm25, dense) if result.id in order]
        assert result.first_stage_score == pytest.approx(sum(1 / (60 + r) for r in ranks))


def test_vectors_follow_their_passages(index):
    index.delete("beijing")
    index.add([("gravity", "Beijing is the capital of China.")])
    order = first_stage_order(index.search("Beijing is the capital of China.", first_stage="dense"))
    assert order[0] == "gravity"
    assert "beijing" not in order
    assert index.verify().ok


def test_vectors_serve_an_index_without_texts(tmp_path, reranker, dense_model):
    folder = tmp_path / "index"
    with PassageIndex.create(folder, reranker, dense=dense_model, keep_text=False) as made:
        made.add(PASSAGES)
        assert first_stage_order(made.search("Beijing is the capital of China."))[0] == "beijing"


def test_the_dense_model_is_loaded_again_from_where_it_was(index, tmp_path):
    index.close()
    with PassageIndex.open(tmp_path / "index") as again:
        assert again.header.dense.width == WIDTH
        assert len(again.search("capital", first_stage="dense")) == 6


def test_another_dense_model_is_refused(index, tmp_path, dense_model):
    index.close()
    kept = shutil.copytree(dense_model, tmp_path / "kept")
    shutil.rmtree(dense_model)
    save_model(dense_model, 1)
    try:
        with PassageIndex.open(tmp_path / "index") as again:
            with pytest.raises(StatesMismatchError, match=r"vectors of the index .* fingerprint"):
                again.search("capital")
            assert len(again.search("capital", first_stage="bm25")) == 3
    finally:
        shutil.rmtree(dense_model)
        shutil.move(kept, dense_model)
