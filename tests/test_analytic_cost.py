"""The formula gives back what the paper published."""

import pytest

from kalm_reranker.analytic_cost import (
    PAPER_LENGTH_CURVE_RATIO,
    PAPER_PASSAGE_TOKENS,
    PAPER_QUERY_TOKENS,
    PAPER_RATIO,
    AnalyticCost,
)
from kalm_reranker.bench.shapes import SHAPES


def cost(layers: int, width: int) -> AnalyticCost:
    """A model whose cross-encoder has the layers of both stacks, as the paper counts."""
    return AnalyticCost(
        decoder_layers=layers,
        joint_layers=2 * layers,
        width=width,
        query_tokens=PAPER_QUERY_TOKENS,
    )


def of_shape(name: str) -> AnalyticCost:
    return cost(SHAPES[name].layers, SHAPES[name].width)


NANO = of_shape("nano-shape")
UNIT = NANO.stored(PAPER_PASSAGE_TOKENS, PAPER_RATIO)


@pytest.mark.parametrize(
    ("length", "ratio", "published"),
    [
        (256, PAPER_LENGTH_CURVE_RATIO, 16.6),
        (4096, PAPER_LENGTH_CURVE_RATIO, 203.4),
        (PAPER_PASSAGE_TOKENS, 8, 33),
    ],
)
def test_speedups_against_a_cross_encoder_of_the_same_size(length, ratio, published):
    # Published with three or four digits, "33x" with two.
    assert NANO.speedup(length, ratio) == pytest.approx(published, rel=0.01 if ratio == 8 else 2e-3)


@pytest.mark.parametrize(
    ("name", "published"), [("small-shape", 6.9 / 1.5), ("large-shape", 43.7 / 1.5)]
)
def test_costs_of_the_other_sizes(name, published):
    # The first version of the paper has a Nano of two thirds of the cost: 12 layers, not 18.
    assert of_shape(name).stored(PAPER_PASSAGE_TOKENS, PAPER_RATIO) / UNIT == pytest.approx(
        published, rel=5e-3
    )


@pytest.mark.parametrize(
    ("layers", "width", "first", "third"),
    [
        (12, 768, 11.9, 8.0),  # gte-reranker-base
        (28, 1024, 42.4, 28.2),  # Qwen3-Reranker-0.6B
        (18, 2048, 81.3, None),  # bge-reranker-v2-gemma
        (36, 2560, 236.8, 157.8),  # Qwen3-Reranker-4B
        (36, 4096, 539.7, 359.8),  # Qwen3-Reranker-8B
    ],
)
def test_costs_of_other_rerankers(layers, width, first, third):
    rival = AnalyticCost(
        decoder_layers=1, joint_layers=layers, width=width, query_tokens=PAPER_QUERY_TOKENS
    )
    found = rival.joint(PAPER_PASSAGE_TOKENS) / UNIT
    assert 1.5 * found == pytest.approx(first, rel=5e-3)
    if third is not None:
        assert found == pytest.approx(third, rel=5e-3)


def test_the_cascade():
    # Third version: 100 candidates at ratio 32, then the best 20 of them at 2.
    small = of_shape("small-shape")
    fine = small.stored(PAPER_PASSAGE_TOKENS, 2) / UNIT
    coarse = small.stored(PAPER_PASSAGE_TOKENS, 32) / UNIT
    assert fine == pytest.approx(8.65, abs=0.005)
    assert coarse + fine / 5 == pytest.approx(2.75, abs=0.005)


def test_a_cross_encoder_of_half_the_layers_is_half_as_dear():
    half = AnalyticCost(decoder_layers=18, joint_layers=18, width=640, query_tokens=32)
    assert half.speedup(1024, 8) == pytest.approx(NANO.speedup(1024, 8) / 2)
