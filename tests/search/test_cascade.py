"""Which ratios a search scores at."""

import pytest

from kalm_reranker.checkpoints.settings import OFFICIAL_CASCADE, CascadeSettings
from kalm_reranker.errors import InvalidOptionError, InvalidRatioError
from kalm_reranker.search.cascade import ScoringPlan, plan_scoring


def cascade(coarse, fine, count=20):
    return CascadeSettings(coarse_ratio=coarse, fine_ratio=fine, fine_count=count)


@pytest.mark.parametrize(
    ("stored", "default", "expected"),
    [
        (4, None, ScoringPlan(ratio=4)),
        (4, OFFICIAL_CASCADE, ScoringPlan(ratio=4, coarse_ratio=32, fine_count=20)),
        (2, OFFICIAL_CASCADE, ScoringPlan(ratio=2, coarse_ratio=32, fine_count=20)),
        (2, cascade(32, 4), ScoringPlan(ratio=4, coarse_ratio=32, fine_count=20)),
    ],
)
def test_the_checkpoints_plan(stored, default, expected):
    assert plan_scoring(stored_ratio=stored, default=default) == expected


@pytest.mark.parametrize(
    ("stored", "default", "ratio", "note"),
    [
        (32, OFFICIAL_CASCADE, 32, "no cascade: its coarse ratio 32 cannot be had from 32"),
        (64, OFFICIAL_CASCADE, 64, "no cascade"),
        (3, OFFICIAL_CASCADE, 3, "no cascade: its coarse ratio 32 cannot be had from 3"),
    ],
)
def test_a_plan_the_stored_ratio_does_not_allow_is_left_with_a_note(stored, default, ratio, note):
    plan = plan_scoring(stored_ratio=stored, default=default)
    assert (plan.ratio, plan.coarse_ratio) == (ratio, None)
    assert note in plan.note


def test_a_fine_ratio_that_cannot_be_had_becomes_the_stored_one():
    plan = plan_scoring(stored_ratio=8, default=cascade(32, 4))
    assert (plan.ratio, plan.coarse_ratio) == (8, 32)
    assert "fine ratio 4 is no multiple of the stored 8" in plan.note


def test_the_caller_decides():
    default = cascade(32, None)
    assert plan_scoring(stored_ratio=2, default=default, cascade=None) == ScoringPlan(ratio=2)
    assert plan_scoring(stored_ratio=2, default=default, compression_ratio=8).ratio == 8
    assert plan_scoring(stored_ratio=1, default=None, compression_ratio=None).ratio == 1
    own = plan_scoring(stored_ratio=2, default=default, cascade=cascade(16, 4, 5))
    assert own == ScoringPlan(ratio=4, coarse_ratio=16, fine_count=5)


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ({"compression_ratio": 3}, InvalidRatioError, r"multiple of 2, .*; got 3"),
        ({"cascade": cascade(7, None)}, InvalidRatioError, r"coarse_ratio must be a mult.* got 7"),
        ({"cascade": cascade(8, 3)}, InvalidRatioError, r"fine_ratio must be a multiple.* got 3"),
        ({"cascade": cascade(4, 4)}, InvalidRatioError, r"above the fine ratio 4; got 4"),
        ({"cascade": cascade(2, 4)}, InvalidRatioError, r"above the fine ratio 4; got 2"),
        ({"cascade": cascade(8, 2, 0)}, InvalidOptionError, r"fine_count must be a positive"),
        ({"cascade": "32:20"}, InvalidOptionError, r"must be a CascadeSettings or None; got str"),
        (
            {"cascade": cascade(8, 2), "compression_ratio": 8},
            InvalidOptionError,
            r"exclude each other",
        ),
    ],
)
def test_what_the_caller_cannot_have(wanted, error, message):
    with pytest.raises(error, match=message):
        plan_scoring(stored_ratio=2, default=None, **wanted)


def test_ratios_that_do_not_divide_windows_are_left_or_refused():
    default = OFFICIAL_CASCADE
    assert plan_scoring(stored_ratio=4, default=default, window=1024) == plan_scoring(
        stored_ratio=4, default=default
    )
    plan = plan_scoring(stored_ratio=4, default=default, window=1000)
    assert (plan.ratio, plan.coarse_ratio) == (4, None)
    assert plan.note == "no cascade: its coarse ratio 32 does not divide windows of 1000 tokens"
    plan = plan_scoring(stored_ratio=2, default=cascade(10, 8), window=20)
    assert (plan.ratio, plan.coarse_ratio) == (2, 10)
    assert plan.note == "the cascade's fine ratio 8 does not divide windows of 20 tokens"
    assert plan_scoring(stored_ratio=4, default=None, window=1000, compression_ratio=8).ratio == 8
    for wanted in (
        {"compression_ratio": 16},
        {"cascade": cascade(16, None)},
        {"cascade": cascade(40, 16)},
    ):
        with pytest.raises(InvalidRatioError, match=r"must divide 1000, the tokens .*; got 16"):
            plan_scoring(stored_ratio=4, default=None, window=1000, **wanted)
