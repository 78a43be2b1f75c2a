import numpy as np
import pytest

from kalm_reranker.errors import InputError, InvalidOptionError
from kalm_reranker.evaluation.measures.distributions import score_distribution


def test_by_hand():
    run = {"x": {"a": 0.0, "b": 1.0, "c": 4.0}, "y": {"a": 2.0}, "unjudged": {"a": 99.0}}
    found = score_distribution(run, {"x": {"c": 2, "b": 0}, "y": {"a": 1}}, bins=4)
    assert found.edges == (0, 1, 2, 3, 4)
    assert found.relevant == (0, 0, 1, 1)  # the last bin holds its upper edge
    assert found.other == (1, 1, 0, 0)


def test_every_candidate_is_counted_once():
    rng = np.random.default_rng(0)
    run = {f"q{q}": {f"p{p}": float(rng.normal()) for p in range(100)} for q in range(20)}
    qrels = {query_id: {"p3": 1, "p7": 1, "absent": 1} for query_id in run}
    found = score_distribution(run, qrels)
    assert len(found.edges) == 51
    assert sum(found.relevant) == 40
    assert sum(found.other) == 20 * 98


def test_bounds_may_be_shared_and_what_lies_beyond_is_kept():
    run = {"q": {"a": -5.0, "b": 0.25, "c": 5.0}}
    found = score_distribution(run, {"q": {"c": 1}}, bins=2, bounds=(0.0, 1.0))
    assert found.edges == (0.0, 0.5, 1.0)
    assert found.relevant == (0, 1)
    assert found.other == (2, 0)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e12])
def test_equal_scores_have_bins_around_them(value):
    found = score_distribution({"q": {"a": value, "b": value}}, {"q": {"a": 1}}, bins=3)
    assert found.edges == tuple(sorted(set(found.edges)))
    assert found.relevant == found.other == (0, 1, 0)


def test_no_candidates_are_refused():
    with pytest.raises(InputError, match="the run has none for these judged queries"):
        score_distribution({"other": {"a": 1.0}}, {"q": {"a": 1}})


def test_infinite_scores_are_refused():
    with pytest.raises(InputError, match="scores must be finite"):
        score_distribution({"q": {"a": float("inf")}}, {"q": {"a": 1}})


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (2.0, 1.0), (0.0, float("nan"))])
def test_bounds_that_span_nothing_are_refused(bounds):
    with pytest.raises(InvalidOptionError, match="finite and ascending"):
        score_distribution({"q": {"a": 1.0}}, {"q": {"a": 1}}, bounds=bounds)


def test_no_bins_are_refused():
    with pytest.raises(InvalidOptionError, match="bins must be a positive integer; got 0"):
        score_distribution({"q": {"a": 1.0}}, {"q": {"a": 1}}, bins=0)
