import math

import pytest

from kalm_reranker.errors import InputError
from kalm_reranker.evaluation.measures.roc_auc import roc_auc


def test_by_hand_with_a_tie():
    # Relevant 3 and 1, others 2, 1, 0: of six pairs 3 + 1 are in order and one is a tie.
    run = {"q": {"a": 3.0, "b": 1.0, "c": 2.0, "d": 1.0, "e": 0.0}}
    found = roc_auc(run, {"q": {"a": 1, "b": 2, "c": 0, "d": -1}})
    assert found.pooled == (3 + 1 + 0.5) / 6
    assert found.per_query == {"q": found.pooled}
    assert (found.num_relevant, found.num_other, found.reason) == (2, 3, None)


def test_pooled_asks_for_one_threshold():
    # Perfect within each query, but the scores of "x" are all above those of "y".
    run = {"x": {"a": 9.0, "b": 8.0}, "y": {"a": 2.0, "b": 1.0}}
    found = roc_auc(run, {"x": {"a": 1}, "y": {"a": 1}})
    assert found.mean == 1
    assert found.pooled == 3 / 4


def test_the_order_of_equal_scores_does_not_matter():
    run = {"q": dict.fromkeys("abcd", 1.0)}
    assert roc_auc(run, {"q": {"a": 1}}).pooled == 0.5
    assert roc_auc(run, {"q": {"d": 1}}).pooled == 0.5


def test_scores_closer_than_float32_are_told_apart():
    assert roc_auc({"q": {"a": 1.0 + 1e-12, "b": 1.0}}, {"q": {"a": 1}}).pooled == 1


def test_queries_with_one_kind_of_candidate_count_in_the_pool_alone():
    run = {"both": {"a": 2.0, "b": 1.0}, "none": {"b": 3.0}, "empty": {}}
    found = roc_auc(run, {"both": {"a": 1}, "none": {"a": 1}, "empty": {"a": 1}, "absent": {}})
    assert found.pooled == 0.5
    assert found.per_query == {"both": 1.0}
    assert found.mean == 1


def test_unjudged_queries_are_ignored():
    run = {"q": {"a": 2.0, "b": 1.0}, "unjudged": {"c": 5.0}}
    assert roc_auc(run, {"q": {"a": 1}}).num_other == 1


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        ({"q": {"b": 1.0}}, "no candidate is relevant"),
        ({"q": {"a": 1.0}}, "every candidate is relevant"),
        ({"q": {}}, "there are no candidates"),
        ({}, "there are no candidates"),
    ],
)
def test_without_both_kinds_there_is_no_number_but_a_reason(run, reason):
    found = roc_auc(run, {"q": {"a": 1}})
    assert found.pooled is None
    assert found.mean is None
    assert found.reason == reason


def test_infinite_scores_have_an_order():
    run = {"q": {"a": math.inf, "b": 0.0, "c": -math.inf}}
    assert roc_auc(run, {"q": {"a": 1}}).pooled == 1


def test_nan_is_refused():
    with pytest.raises(InputError, match="score of passage 'b' for query 'q' is NaN"):
        roc_auc({"q": {"a": 1.0, "b": math.nan}}, {"q": {"a": 1}})
