"""oneDNN's layers against plain ones."""

import re

import pytest
import torch
from torch import nn

from kalm_reranker import KaLMReranker
from kalm_reranker.engine import fused_cpu
from kalm_reranker.engine.execution import choose_engine
from kalm_reranker.engine.fused_cpu import (
    FusedGatedMLP,
    PackedLinear,
    fuse_linear_layers,
    why_not_fused,
)
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.model.layers import GatedMLP
from tests.parity.random_checkpoints import TINY

CPU = torch.device("cpu")
needs_float32 = pytest.mark.skipif(
    why_not_fused(torch.float32) is not None, reason=str(why_not_fused(torch.float32))
)
dtypes = [
    pytest.param(
        dtype,
        marks=pytest.mark.skipif(
            why_not_fused(dtype) is not None, reason=str(why_not_fused(dtype))
        ),
    )
    for dtype in (torch.float32, torch.bfloat16)
]


class Sizes:
    """What `GatedMLP` reads of a config."""

    hidden_width = 32
    mlp_width = 80


def mlp_of(dtype) -> GatedMLP:
    torch.manual_seed(1)
    return GatedMLP(Sizes()).to(dtype).requires_grad_(False)


@pytest.mark.parametrize("dtype", dtypes)
@pytest.mark.parametrize("shape", [(1,), (15,), (16,), (17,), (255,), (257,), (3, 5), (2, 0), (0,)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_compute_the_same(dtype, shape, bias):
    torch.manual_seed(0)
    linear = nn.Linear(32, 48, bias=bias, dtype=dtype).requires_grad_(False)
    inputs = torch.randn(*shape, 32).to(dtype)
    got = PackedLinear(linear)(inputs)
    exact = inputs.double() @ linear.weight.double().T + (linear.bias.double() if bias else 0.0)
    assert got.dtype == dtype
    assert got.shape == (*shape, 48)
    torch.testing.assert_close(got.double(), exact, atol=4 * torch.finfo(dtype).eps, rtol=1e-2)


@pytest.mark.parametrize("dtype", dtypes)
@pytest.mark.parametrize("shape", [(1,), (17,), (300,), (4, 9), (0,)])
def test_gated_mlps_compute_the_same(dtype, shape):
    mlp = mlp_of(dtype)
    hidden = torch.randn(*shape, 32).to(dtype)
    got = FusedGatedMLP(mlp)(hidden)
    exact = mlp.double()(hidden.double())
    assert got.dtype == dtype
    assert got.shape == hidden.shape
    torch.testing.assert_close(got.double(), exact, atol=16 * torch.finfo(dtype).eps, rtol=1e-2)


@needs_float32
def test_views_and_bad_numbers_pass_through():
    linear = nn.Linear(32, 48).requires_grad_(False)
    wide = torch.randn(20, 64)
    torch.testing.assert_close(PackedLinear(linear)(wide[:, ::2]), linear(wide[:, ::2]))
    wide[3, 4] = torch.nan
    assert PackedLinear(linear)(wide[:, :32])[3].isnan().all()
    assert FusedGatedMLP(mlp_of(torch.float32))(wide[:, :32])[3].isnan().all()


@needs_float32
def test_every_linear_layer_is_replaced():
    reranker = KaLMReranker("pico", dtype="float32", engine="fused")
    kinds = {type(module) for module in reranker._pipeline.model.modules()}
    assert {PackedLinear, FusedGatedMLP} <= kinds
    assert not {nn.Linear, GatedMLP} & kinds
    assert "engine='fused' (asked for)" in repr(reranker)


def test_plain_execution_keeps_the_plain_layers():
    reranker = KaLMReranker("pico", dtype="float32", engine="eager")
    kinds = {type(module) for module in reranker._pipeline.model.modules()}
    assert {nn.Linear, GatedMLP} <= kinds
    assert "engine='eager' (asked for)" in repr(reranker)


def test_the_reason_is_said_where_they_cannot_be_had(monkeypatch):
    assert choose_engine("auto", CPU, torch.float16).name == "eager"
    with pytest.raises(InvalidOptionError, match="do not take float16"):
        choose_engine("fused", CPU, torch.float16)
    with pytest.raises(InvalidOptionError, match="runs on CPUs, and the device is 'meta'"):
        choose_engine("fused", torch.device("meta"), torch.float32)
    with pytest.raises(InvalidOptionError, match="engine must be one of 'auto', 'eager'"):
        choose_engine("fast", CPU, torch.float32)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda *args: args[0].new_zeros(len(args[0]), 48), "wrong numbers"),
        (lambda *args: 1 / 0, r"lacks oneDNN's layers \(ZeroDivisionError\)"),
    ],
)
def test_operators_that_fail_are_not_used(monkeypatch, broken, reason):
    why_not_fused.cache_clear()
    monkeypatch.setattr(fused_cpu, "_product", broken)
    try:
        chosen = choose_engine("auto", CPU, torch.float32)
    finally:
        why_not_fused.cache_clear()
    assert chosen.name == "eager"
    assert re.search(reason, chosen.reason)


@needs_float32
def test_rows_do_not_depend_on_their_number():
    # What keeps a passage's keys and values the same bits whatever group it is read in.
    sizes = TINY["hidden_size"], TINY["intermediate_size"]
    layer = PackedLinear(nn.Linear(*sizes).requires_grad_(False))
    inputs = torch.randn(700, sizes[0])
    whole = layer(inputs)
    for count in (1, 16, 60, 300, 513):
        assert torch.equal(layer(inputs[:count])[:count], whole[:count])


@needs_float32
def test_children_of_children_are_replaced_and_others_left():
    tree = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)))
    fuse_linear_layers(tree)
    kinds = [type(module) for module in tree.modules() if not list(module.children())]
    assert kinds == [PackedLinear, nn.LayerNorm, PackedLinear]
