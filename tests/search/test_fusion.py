import math
import statistics

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kalm_reranker.errors import InputError, InvalidOptionError
from kalm_reranker.search.fusion import blend, blend_runs, reciprocal_rank_fusion, z_scores
from kalm_reranker.search.ranking import ranked_ids

SCORES = st.floats(-1e3, 1e3).map(lambda x: round(x, 3))
ID_LISTS = st.lists(st.text(max_size=5), min_size=2, max_size=20, unique=True)


@st.composite
def candidate_scores(draw):
    """Returns the scores of one ranker for at least two candidates, not all equal."""
    ids = draw(ID_LISTS)
    scores = dict(
        zip(ids, draw(st.lists(SCORES, min_size=len(ids), max_size=len(ids))), strict=True)
    )
    assume(len(set(scores.values())) > 1)
    return scores


@st.composite
def two_rankers(draw):
    first = draw(candidate_scores())
    values = draw(st.lists(SCORES, min_size=len(first), max_size=len(first)))
    return first, dict(zip(first, values, strict=True))


def test_z_scores_by_hand():
    # Mean 2, population standard deviation sqrt(2/3).
    z = z_scores({"a": 1.0, "b": 2.0, "c": 3.0})
    assert z == pytest.approx({"a": -math.sqrt(1.5), "b": 0.0, "c": math.sqrt(1.5)})


def test_the_blend_by_hand():
    blended = blend({"a": 3.0, "b": 1.0}, {"a": -10.0, "b": 30.0})
    assert blended == pytest.approx({"a": 0.0, "b": 0.0})
    # z of (0, 0, 3): (-1, -1, 2) / sqrt(2); z of (1, 0, 0): (2, -1, -1) / sqrt(2).
    blended = blend({"a": 0.0, "b": 0.0, "c": 3.0}, {"a": 1.0, "b": 0.0, "c": 0.0})
    root = math.sqrt(2)
    assert blended == pytest.approx({"a": 1 / root, "b": -2 / root, "c": 1 / root})


def test_a_ranker_without_an_opinion_leaves_the_order_to_the_other():
    blended = blend({"a": 7.0, "b": 7.0, "c": 7.0}, {"a": 1.0, "b": 3.0, "c": 2.0})
    assert ranked_ids(blended) == ["b", "c", "a"]


def test_rounding_noise_is_no_opinion():
    noise = {"a": 0.3, "b": float(np.float32(0.3))}
    assert noise["a"] != noise["b"]
    assert z_scores(noise) == {"a": 0.0, "b": 0.0}


def test_one_candidate_and_none():
    assert blend({"a": 12.5}, {"a": -3.0}) == {"a": 0.0}
    assert blend({}, {}) == {}
    assert blend_runs({"q": {}}, {"q": {}}) == {"q": {}}


@pytest.mark.parametrize("scale", [5e-324, 1e-200, 1e200, 1.7e308])
def test_extreme_scores_neither_overflow_nor_vanish(scale):
    assert z_scores({"a": scale, "b": -scale}) == pytest.approx({"a": 1.0, "b": -1.0})


@given(candidate_scores())
def test_z_scores_have_mean_zero_and_variance_one(scores):
    z = list(z_scores(scores).values())
    assert statistics.fmean(z) == pytest.approx(0, abs=1e-6)
    assert statistics.pvariance(z) == pytest.approx(1)


@given(candidate_scores())
def test_z_scores_keep_the_order(scores):
    z = z_scores(scores)
    for a in scores:
        for b in scores:
            assert (scores[a] > scores[b]) == (z[a] > z[b])


@given(candidate_scores(), st.sampled_from([0.5, 1.0, 4.0]), st.integers(-100, 100).map(float))
def test_z_scores_do_not_see_unit_and_origin(scores, scale, shift):
    moved = {key: value * scale + shift for key, value in scores.items()}
    assume(max(moved.values()) - min(moved.values()) > 1e-5 * max(map(abs, moved.values())))
    assume(max(scores.values()) - min(scores.values()) > 1e-5 * max(map(abs, scores.values())))
    assert z_scores(moved) == pytest.approx(z_scores(scores), abs=1e-5)


@given(two_rankers())
def test_the_blend_is_the_same_from_either_side_and_in_any_order(rankers):
    first, second = rankers
    blended = blend(first, second)
    assert blend(second, first) == pytest.approx(blended)
    assert blend(dict(reversed(first.items())), second) == pytest.approx(blended, abs=1e-9)


@given(candidate_scores())
def test_a_ranker_blended_with_itself_keeps_its_order(scores):
    assert ranked_ids(blend(scores, scores)) == ranked_ids(scores)


@given(two_rankers())
def test_a_candidate_better_for_both_is_better_in_the_blend(rankers):
    first, second = rankers
    blended = blend(first, second)
    for a in first:
        for b in first:
            if first[a] > first[b] and second[a] >= second[b]:
                assert blended[a] > blended[b]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(InputError, match="score of passage 'b' must be a finite number"):
        z_scores({"a": 1.0, "b": bad})
    with pytest.raises(InputError, match="query 'q': score of passage 'b'"):
        blend_runs({"q": {"a": 1.0, "b": 1.0}}, {"q": {"a": 1.0, "b": bad}})


def test_different_candidates_are_refused_and_named():
    with pytest.raises(InputError, match="for example 'b' by the first stage") as caught:
        blend({"a": 1.0, "b": 2.0}, {"a": 1.0})
    assert "2 against 1" in str(caught.value)
    with pytest.raises(InputError, match="same passage ids; 1 are scored by one only"):
        blend({}, {"a": 1.0})


def test_different_queries_are_refused_and_named():
    with pytest.raises(InputError, match=r"same query ids; .* for example 'r' by the reranker"):
        blend_runs({"q": {"a": 1.0}}, {"q": {"a": 1.0}, "r": {}})


def test_runs_are_blended_query_by_query():
    first = {"q": {"a": 1.0, "b": 2.0}, "r": {"c": 5.0, "d": 1.0}}
    second = {"q": {"a": 9.0, "b": 1.0}, "r": {"c": 2.0, "d": 0.0}}
    blended = blend_runs(first, second)
    assert blended == {query: blend(first[query], second[query]) for query in first}


def test_integer_keys_are_blended_like_names():
    names, keys = {"a": 1.0, "b": 2.0}, {3: 1.0, 11: 2.0}
    assert list(blend(keys, keys).values()) == list(blend(names, names).values())
    assert ranked_ids({11: 1.0, 3: 1.0, 7: 2.0}) == [7, 3, 11]
    with pytest.raises(InputError, match="for example 3 by the first stage"):
        blend({3: 1.0, 4: 2.0}, {4: 1.0})


def test_reciprocal_rank_fusion_by_hand():
    fused = reciprocal_rank_fusion([[1, 2, 3], [3, 4]])
    assert fused == pytest.approx({3: 1 / 63 + 1 / 61, 1: 1 / 61, 2: 1 / 62, 4: 1 / 62})
    assert list(fused) == [3, 1, 2, 4]  # 2 and 4 tie
    assert list(reciprocal_rank_fusion([["a", "b"], ["b", "c"], ["b"]], k=1)) == ["b", "a", "c"]


def test_reciprocal_rank_fusion_of_nothing_and_of_one():
    assert reciprocal_rank_fusion([]) == {}
    assert reciprocal_rank_fusion([[], []]) == {}
    assert list(reciprocal_rank_fusion([["c", "a", "b"], []])) == ["c", "a", "b"]


def test_an_id_that_comes_twice_counts_where_it_comes_first():
    assert reciprocal_rank_fusion([["a", "b", "a"]]) == reciprocal_rank_fusion([["a", "b"]])


@given(st.lists(st.lists(st.integers(0, 9)), max_size=4))
def test_the_order_of_rankings_does_not_change_the_fusion(rankings):
    fused = reciprocal_rank_fusion(rankings)
    assert fused == pytest.approx(reciprocal_rank_fusion(rankings[::-1]))
    assert set(fused) == {key for ranking in rankings for key in ranking}


@pytest.mark.parametrize("k", [0, -60, 1.5])
def test_k_must_be_positive(k):
    with pytest.raises(InvalidOptionError, match="k must be a positive integer"):
        reciprocal_rank_fusion([["a"]], k=k)
