"""BM25 against published numbers of the same setup, where the evaluation sets are at hand."""

from pathlib import Path

import pytest

from kalm_reranker.evaluation.data.beir import load_beir
from kalm_reranker.evaluation.measures.metrics import measure_run
from kalm_reranker.search.bm25 import BM25FirstStage

SETS = Path(__file__).parents[3] / "shared" / "data" / "eval"

pytestmark = pytest.mark.skipif(not SETS.is_dir(), reason="needs the sets in ../shared/data/eval")


def bm25_ndcg(name):
    collection = load_beir(SETS / name)
    index = BM25FirstStage(collection.passages)
    return measure_run(index.search(collection.queries), collection.qrels).mean, index.english


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("xquad-ar", 0.9042),
        ("xquad-de", 0.9085),
        ("xquad-hi", 0.9509),
        ("xquad-th", 0.9623),
        ("xquad-tr", 0.8854),
        ("xquad-zh", 0.9545),
    ],
)
def test_other_languages_are_reproduced_to_the_last_digit(name, published):
    value, english = bm25_ndcg(name)
    assert not english
    assert round(value, 4) == published


@pytest.mark.parametrize(("name", "published"), [("cranfield", 0.3562), ("cisi", 0.3564)])
def test_english_is_reproduced_but_for_the_stop_list(name, published):
    value, english = bm25_ndcg(name)
    assert english
    assert value == pytest.approx(published, abs=0.001)
