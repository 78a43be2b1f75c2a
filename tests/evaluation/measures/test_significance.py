import numpy as np
import pytest
from scipy import stats

from kalm_reranker.errors import InputError, InvalidOptionError
from kalm_reranker.evaluation.measures.significance import TESTS, compare, holm_adjusted

NAMES = {"measure": "nDCG@10", "ranker": "new", "baseline": "old", "dataset": "set"}


def queries(values):
    return {f"q{number}": float(value) for number, value in enumerate(values)}


@pytest.fixture
def values():
    """Two rankers on 60 queries, of which the first is 0.05 better on average."""
    rng = np.random.default_rng(7)
    baseline = rng.uniform(0, 0.9, size=60)
    return queries(baseline + rng.normal(0.05, 0.15, size=60)), queries(baseline)


def test_the_t_test_is_that_of_scipy(values):
    better, baseline = values
    found = compare(better, baseline, **NAMES)
    expected = stats.ttest_rel(list(better.values()), list(baseline.values()))
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.test == "paired t-test"
    assert (found.measure, found.ranker, found.baseline, found.dataset) == tuple(NAMES.values())


def test_the_sign_is_ranker_minus_baseline(values):
    better, baseline = values
    ahead, behind = compare(better, baseline, **NAMES), compare(baseline, better, **NAMES)
    assert ahead.difference > 0
    assert behind.difference == -ahead.difference
    assert (behind.low, behind.high) == pytest.approx((-ahead.high, -ahead.low))
    assert behind.p_value == ahead.p_value
    assert (behind.wins, behind.losses) == (ahead.losses, ahead.wins)


def test_queries_are_paired_by_id_not_by_order(values):
    better, baseline = values
    turned = dict(reversed(baseline.items()))
    assert compare(better, turned, **NAMES) == compare(better, baseline, **NAMES)


def test_the_bootstrap_is_near_the_t_test_where_that_holds(values):
    drawn, exact = (compare(*values, **NAMES, test=test) for test in ("bootstrap", "t-test"))
    assert drawn.difference == exact.difference
    assert (drawn.low, drawn.high) == pytest.approx((exact.low, exact.high), abs=0.006)
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.01)
    assert drawn.test == "paired bootstrap, 10,000 resamples, seed 0"


def test_the_bootstrap_interval_is_that_of_scipy(values):
    better, baseline = values
    differences = [better[key] - baseline[key] for key in better]
    found = compare(better, baseline, **NAMES, test="bootstrap")
    expected = stats.bootstrap(
        (differences,), np.mean, n_resamples=10_000, method="percentile", rng=1
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.003)


def test_a_seed_repeats_the_bootstrap_and_another_one_does_not(values):
    first = compare(*values, **NAMES, test="bootstrap", seed=3)
    assert compare(*values, **NAMES, test="bootstrap", seed=3) == first
    assert compare(*values, **NAMES, test="bootstrap", seed=4).low != first.low


@pytest.mark.parametrize("test", TESTS)
def test_false_alarms_are_as_rare_as_promised(test):
    # 400 comparisons of rankers that do not differ: 20 are expected below 0.05, with a standard
    # deviation of 4.4.
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(400):
        one, other = rng.uniform(size=(2, 80))
        found = compare(queries(one), queries(other), **NAMES, test=test, resamples=500)
        alarms += found.p_value <= 0.05
    assert 7 <= alarms <= 36


@pytest.mark.parametrize("test", TESTS)
def test_identical_runs_do_not_differ(test, values):
    found = compare(values[0], values[0], **NAMES, test=test)
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert (found.wins, found.losses, found.num_queries) == (0, 0, 60)
    assert found.test == "all differences are equal"


@pytest.mark.parametrize("test", TESTS)
def test_the_same_gain_on_every_query_is_judged_by_their_number(test):
    found = compare(queries([0.6, 0.3, 0.8]), queries([0.5, 0.2, 0.7]), **NAMES, test=test)
    assert found.p_value == 0.25
    assert (found.low, found.high) == (found.difference, found.difference)
    assert found.difference == pytest.approx(0.1)


def test_what_only_rounding_tells_apart_is_a_tie():
    found = compare(queries([0.1 + 0.2, 1.0, 0.5]), queries([0.3, 0.5, 0.75]), **NAMES)
    assert (found.wins, found.losses, found.num_queries) == (1, 1, 3)


def test_the_bootstrap_of_many_queries_keeps_to_its_memory():
    rng = np.random.default_rng(0)
    one, other = rng.uniform(size=(2, 50_000))
    found = compare(queries(one), queries(other), **NAMES, test="bootstrap", resamples=200)
    exact = compare(queries(one), queries(other), **NAMES)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.001)


def test_other_queries_are_refused():
    with pytest.raises(InputError, match="2 are on one side only, the first is 'q1'"):
        compare({"q1": 0.0, "q2": 0.0}, {"q2": 0.0, "q3": 0.0}, **NAMES)


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_query_is_refused(count):
    few = queries([0.5] * count)
    with pytest.raises(InputError, match=f"at least two queries; got {count}"):
        compare(few, few, **NAMES)


def test_values_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match=r"values must be finite; query 'q1' has nan and 0\.5"):
        compare(queries([0.1, np.nan]), queries([0.2, 0.5]), **NAMES)


def test_unknown_tests_are_refused():
    with pytest.raises(InvalidOptionError, match="one of t-test, bootstrap; got 'sign'"):
        compare({}, {}, **NAMES, test="sign")


def test_holm_by_hand():
    # Ascending 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1; never less than one before.
    assert holm_adjusted([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm_adjusted([0.6, 0.7]) == [1.0, 1.0]
    assert holm_adjusted([]) == []


def test_holm_refuses_what_is_no_p_value():
    with pytest.raises(InputError, match="between 0 and 1; got nan"):
        holm_adjusted([0.5, float("nan")])
