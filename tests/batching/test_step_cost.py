"""What steps cost, learned from those that ran."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker.batching.step_cost import StepCost

SIZES = st.floats(1, 1e6)
SECONDS = st.floats(0, 1e3)


@given(st.floats(1e-5, 1), st.floats(1e-7, 1e-2), st.lists(SIZES, min_size=2, max_size=30))
def test_a_line_is_learned_exactly_from_steps_without_noise(step_s, unit_s, sizes):
    sizes = [*sizes, 2 * max(sizes)]  # of two sizes at least
    cost = StepCost()
    for units in sizes:
        cost.seen(units, step_s + unit_s * units)
    for units in (min(sizes), max(sizes)):
        predicted = cost.step_s + cost.unit_s * units
        assert predicted == pytest.approx(step_s + unit_s * units, rel=1e-3)


def test_both_parts_of_the_line_are_right():
    cost = StepCost()
    for units in (100, 400, 250, 800):
        cost.seen(units, 0.004 + 2e-5 * units)
    assert cost.step_s == pytest.approx(0.004)
    assert cost.unit_s == pytest.approx(2e-5)
    assert cost.units_in(0.02) == pytest.approx(0.016 / 2e-5)


def test_steps_of_one_size_say_what_that_size_costs():
    cost = StepCost()
    for _ in range(50):
        cost.seen(300, 0.06)
    assert cost.step_s + 300 * cost.unit_s == pytest.approx(0.06)
    assert cost.step_s > 0
    assert cost.unit_s > 0


def test_a_single_slow_step_is_forgotten():
    cost = StepCost()
    for number in range(300):
        units = 200 + 100 * (number % 4)
        cost.seen(units, 30.0 if number == 20 else 0.002 + 1e-5 * units)
    assert cost.step_s == pytest.approx(0.002, rel=0.1)
    assert cost.unit_s == pytest.approx(1e-5, rel=0.1)


def test_what_was_true_before_is_forgotten_too():
    cost = StepCost()
    for slowness in (1, 7):
        for number in range(300):
            units = 100 * (1 + number % 5)
            cost.seen(units, slowness * (0.002 + 1e-5 * units))
    assert cost.unit_s == pytest.approx(7e-5, rel=1e-3)


@given(st.lists(st.tuples(SIZES, SECONDS), max_size=60), st.floats(1e-4, 10))
def test_nothing_is_ever_free_or_endless(steps, target_s):
    cost = StepCost()
    for units, seconds in steps:
        cost.seen(units, seconds)
        assert cost.unit_s > 0
        assert cost.step_s >= 0
        assert math.isfinite(cost.unit_s + cost.step_s)
        assert 0 < cost.units_in(target_s) < math.inf


def test_a_clock_that_does_not_move_is_no_end():
    cost = StepCost()
    for _ in range(3):
        cost.seen(10, 0.0)
    cost.seen(10, 0.01)
    assert cost.units_in(0.02) > 0


def test_steps_grow_at_most_twofold_at_once():
    cost = StepCost()
    cost.seen(100, 0.001)
    assert cost.units_in(10.0) == 200
    cost.seen(200, 0.002)
    assert cost.units_in(10.0) == 400


def test_the_constant_part_is_at_most_half_of_a_step():
    cost = StepCost()
    cost.step_s, cost.unit_s = 0.05, 0.001
    assert cost.units_in(0.02) == pytest.approx(50)


def test_noise_does_not_blow_steps_up():
    """Steps near one size give lines of any slope; what is asked for stays near the target."""
    noise = random.Random(0)
    cost = StepCost()
    real_s = []
    for _ in range(3_000):
        units = max(60.0, cost.units_in(0.02))
        real_s.append(0.002 + 1e-5 * units)
        cost.seen(units, real_s[-1] * noise.lognormvariate(0, 0.5))
    real_s.sort()
    assert real_s[1_500] == pytest.approx(0.02, rel=0.4)
    assert real_s[-30] < 0.1
