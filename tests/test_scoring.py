import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker.scoring import margin_from_logits, score_from_margin, scored_pair


def test_official_margins_give_the_official_scores():
    assert score_from_margin(8.625) == pytest.approx(0.99982053, abs=1e-7)  # printed from float32
    assert score_from_margin(-12.25) == pytest.approx(4.785e-06, rel=1e-3)


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_score_is_the_softmax_of_the_two_logits(yes_logit, no_logit):
    score = score_from_margin(margin_from_logits(yes_logit, no_logit))
    largest = max(yes_logit, no_logit)
    yes, no = math.exp(yes_logit - largest), math.exp(no_logit - largest)
    assert score == pytest.approx(yes / (yes + no), rel=1e-12, abs=1e-300)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_margin_has_a_score(margin):
    assert 0.0 <= score_from_margin(margin) <= 1.0
    assert scored_pair(margin).margin == margin
