"""Cascades made of single passes, against a real index that searches in two."""

import pytest

from kalm_reranker.checkpoints.settings import CascadeSettings
from kalm_reranker.evaluation.combining import (
    blended_cascade_run,
    blended_cascade_scores,
    cascade_run,
    cascade_scores,
)
from kalm_reranker.evaluation.data.beir import load_beir
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.search.ranking import ranked_ids

pytest.importorskip("tantivy")

COARSE, FINE, COUNT = 16, 4, 4


@pytest.fixture(scope="module")
def searched(tmp_path_factory, pico, small_sets):
    """Rankings of an index: by one pass at each ratio, by two, and by two that are blended."""
    collection = load_beir(small_sets / "first")
    cascade = CascadeSettings(coarse_ratio=COARSE, fine_ratio=FINE, fine_count=COUNT)
    folder = tmp_path_factory.mktemp("index")
    with PassageIndex.create(folder / "index", pico, compression_ratio=FINE) as index:
        index.add(list(collection.passages.items())[:20], show_progress=False)
        # Words of many passages, so that the first stage finds more than the second pass takes.
        words = " ".join(list(collection.passages.values())[:6])

        def ranked(query, fuse=False, **options):
            text = f"{collection.queries[query]} {words}"
            return index.search(text, 12, candidates=12, fuse=fuse, **options)

        return {
            query: {
                "coarse": ranked(query, cascade=None, compression_ratio=COARSE),
                "fine": ranked(query, cascade=None),
                "cascade": ranked(query, cascade=cascade),
                "blended": ranked(query, cascade=cascade, fuse=True),
            }
            for query in list(collection.queries)[:3]
        }


def margins(searched, way):
    return {query: {r.id: r.margin for r in found[way]} for query, found in searched.items()}


def first_stage(searched):
    return {
        query: {r.id: r.first_stage_score for r in found["fine"]}
        for query, found in searched.items()
    }


def order(searched, way):
    return {query: [r.id for r in found[way]] for query, found in searched.items()}


def test_a_cascade_ranks_as_an_index_with_this_cascade(searched):
    run = cascade_run(margins(searched, "coarse"), margins(searched, "fine"), COUNT)
    expected = order(searched, "cascade")
    assert {query: ranked_ids(scores) for query, scores in run.items()} == expected
    assert all(len(found) > COUNT for found in expected.values())
    # The two passes do not agree anyway.
    assert expected != order(searched, "fine")
    assert expected != order(searched, "coarse")


def test_a_blended_cascade_ranks_as_an_index_that_blends_both_passes(searched):
    run = blended_cascade_run(
        first_stage(searched), margins(searched, "coarse"), margins(searched, "fine"), COUNT
    )
    expected = order(searched, "blended")
    assert {query: ranked_ids(scores) for query, scores in run.items()} == expected
    assert expected != order(searched, "cascade")


def test_no_more_candidates_than_the_second_pass_takes_have_its_scores_alone():
    coarse, fine = {"a": 3.0, "b": 1.0}, {"a": -4.0, "b": 8.5}
    assert cascade_scores(coarse, fine, 2) == fine
    assert cascade_scores({}, {}, 2) == {}
    assert blended_cascade_scores({"a": 0.0, "b": 0.0}, coarse, fine, 2) == {"a": -1.0, "b": 1.0}


def test_what_is_not_scored_again_keeps_its_order_below_all_that_is():
    coarse = {"a": 5.0, "b": 4.0, "c": 30.0, "d": 4.5, "e": 29.0}
    fine = {"c": -100.0, "e": -99.0}
    scores = cascade_scores(coarse, fine, 2)
    assert ranked_ids(scores) == ["e", "c", "a", "d", "b"]
    assert {key: scores[key] for key in fine} == fine
    assert scores["a"] - scores["d"] == coarse["a"] - coarse["d"]
