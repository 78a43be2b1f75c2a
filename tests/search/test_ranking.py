import math

import pytest

from kalm_reranker.errors import InputError
from kalm_reranker.search.ranking import ranked_ids


def test_the_best_score_comes_first():
    assert ranked_ids({"a": 0.5, "b": 2.0, "c": -1.0}) == ["b", "a", "c"]


def test_equal_scores_are_ordered_by_id_whatever_the_key_order():
    assert ranked_ids({"b": 1.0, "a": 1.0, "10": 1.0, "9": 1.0}) == ["10", "9", "a", "b"]
    assert ranked_ids({"9": 1.0, "10": 1.0, "a": 1.0, "b": 1.0}) == ["10", "9", "a", "b"]


def test_infinite_scores_have_a_place():
    assert ranked_ids({"a": -math.inf, "b": 0.0, "c": math.inf}) == ["c", "b", "a"]


def test_nan_is_refused():
    with pytest.raises(InputError, match="score of passage 'b' is NaN"):
        ranked_ids({"a": 1.0, "b": math.nan})


def test_no_candidates_give_no_ranking():
    assert ranked_ids({}) == []
