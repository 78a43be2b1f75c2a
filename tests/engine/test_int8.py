"""8-bit decoder weights: real products against float64, with bounds from the quantisation steps."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

from kalm_reranker import KaLMReranker
from kalm_reranker.engine import int8 as int8_module
from kalm_reranker.engine import int8_kernels as kernels
from kalm_reranker.engine import int8_support
from kalm_reranker.engine.int8 import (
    Int8GatedMLP,
    Int8Linear,
    int8_instructions,
    quantize_decoder,
)
from kalm_reranker.errors import InvalidOptionError, NonFiniteScoreError
from kalm_reranker.model.config import RotaryConfig, StackConfig
from kalm_reranker.model.layers import GatedMLP
from tests.benchmarks.commands import run_benchmark, write_set
from tests.parity.random_checkpoints import TINY, build_checkpoint

DTYPES = (torch.float32, torch.bfloat16)
INPUTS, OUTPUTS = 96, 56

needs_int8 = pytest.mark.skipif(
    int8_instructions() is None, reason=f"no int8 here: {int8_support.int8_problem()}"
)


@pytest.fixture(autouse=True)
def _inference():
    with torch.inference_mode():
        yield


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def linear_of(weight, bias=None):
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias, requires_grad=False)
    return linear


def gated_mlp(dtype=torch.float32, width=INPUTS, mlp_width=160):
    config = StackConfig(
        hidden_width=width,
        mlp_width=mlp_width,
        num_layers=1,
        num_query_heads=1,
        num_key_value_heads=1,
        head_width=8,
        vocab_size=8,
        max_positions=8,
        sliding_window=8,
        layer_types=("full",),
        rotary={"full": RotaryConfig(theta=1e4)},
        attention_scale=1.0,
        attention_bias=False,
        norm_eps=1e-6,
        final_logit_softcap=None,
    )
    torch.manual_seed(0)
    return GatedMLP(config).to(dtype).requires_grad_(False)


def largest_error(hidden, weight):
    """Bound on |int8 - exact| for each product, from half a step of either factor.

    Steps are 1/126.5 of a row's largest value (after rounding the scale to bfloat16, at most 1/256
    more) and 1/127 of the largest weight.
    """
    hidden, weight = hidden.double(), weight.double()
    row_error = hidden.abs().amax(-1, keepdim=True) / 126.5 * (1 + 2**-8) / 2  # [M, 1]
    weight_error = weight.abs().amax(-1) / 127 / 2  # [N]
    by_rows = row_error * weight.abs().sum(-1)
    by_weights = hidden.abs().sum(-1, keepdim=True) * weight_error
    return by_rows + by_weights + hidden.shape[-1] * row_error * weight_error


def assert_within_steps(products, hidden, weight, bias=None):
    exact = hidden.double() @ weight.double().T
    if bias is not None:
        exact = exact + bias.double()
    # The products are rounded to the dtype, multiplied with the scale and rounded again.
    rounding = 4 * torch.finfo(products.dtype).eps * (exact.abs() + exact.abs().mean())
    error = (products.double() - exact).abs()
    bound = largest_error(hidden, weight)
    assert (error <= bound + rounding).all()
    # Errors of many inputs have many signs, so they grow with the root of their number.
    typical = min(1.0, 2.0 * hidden.shape[-1] ** -0.5)
    assert error.norm() <= typical * bound.norm() + rounding.norm()


@needs_int8
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(INPUTS,), (1,), (7,), (300,), (2, 5), (2, 3, 4)])
def test_products_are_within_the_steps(dtype, shape):
    shape = () if shape == (INPUTS,) else shape
    hidden, weight = random(*shape, INPUTS, dtype=dtype), random(OUTPUTS, INPUTS, seed=1)
    products = Int8Linear.from_linear(linear_of(weight.to(dtype)))(hidden)
    assert products.dtype == dtype
    assert products.shape == (*shape, OUTPUTS)
    rows = hidden.reshape(-1, INPUTS)
    assert_within_steps(products.reshape(-1, OUTPUTS), rows, weight.to(dtype))


@needs_int8
@pytest.mark.parametrize("sizes", [(640, 256), (256, 640), (33, 17), (1, 1), (5, 300)])
def test_any_width(sizes):
    inputs, outputs = sizes
    hidden, weight = random(9, inputs), random(outputs, inputs, seed=1)
    assert_within_steps(Int8Linear.from_linear(linear_of(weight))(hidden), hidden, weight)


@needs_int8
@pytest.mark.parametrize("dtype", DTYPES)
def test_bias_is_added_as_it_is(dtype):
    hidden, weight = random(6, INPUTS, dtype=dtype), random(OUTPUTS, INPUTS, seed=1, dtype=dtype)
    bias = 1e4 * random(OUTPUTS, seed=2, dtype=dtype)
    linear = linear_of(weight, bias)
    assert_within_steps(Int8Linear.from_linear(linear)(hidden), hidden, weight, bias)
    zero_rows = Int8Linear.from_linear(linear)(torch.zeros_like(hidden))
    assert torch.equal(zero_rows, bias.expand(6, -1))


@needs_int8
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_and_outputs_of_very_different_size(dtype):
    """What a scale for the whole tensor would lose, and what mixed-up scales would spoil."""
    sizes = torch.logspace(-12, 12, 20, base=10.0).unsqueeze(1)
    hidden = (random(20, INPUTS) * sizes).to(dtype)
    weight = random(OUTPUTS, INPUTS, seed=1) * torch.logspace(-6, 6, OUTPUTS).unsqueeze(1)
    linear = linear_of(weight.to(dtype))
    products = Int8Linear.from_linear(linear)(hidden).double()
    exact = hidden.double() @ weight.to(dtype).double().T
    for index in range(len(hidden)):
        for slice_ in (slice(0, 8), slice(-8, None)):
            part = exact[index, slice_]
            assert (products[index, slice_] - part).norm() < 0.05 * part.norm()


@needs_int8
def test_a_swapped_scale_does_not_pass():
    """The checks above see scales of the wrong row or output, and a forgotten offset."""
    hidden = random(20, INPUTS) * torch.linspace(0.5, 2, 20).unsqueeze(1)
    weight = random(OUTPUTS, INPUTS, seed=1) * torch.linspace(0.5, 2, OUTPUTS).unsqueeze(1)
    rows, packed = kernels.quantize_rows(hidden), kernels.pack_weight(weight)
    assert_within_steps(kernels.multiply(rows, packed) * rows.scale, hidden, weight)
    mutants = {
        "row scales reversed": kernels.multiply(rows, packed) * rows.scale.flip(0),
        "one scale for all rows": kernels.multiply(rows, packed) * rows.scale.mean(),
        "output scales reversed": kernels.multiply(
            rows, packed._replace(scale=packed.scale.flip(0))
        )
        * rows.scale,
        "no offset": kernels.multiply(rows, packed._replace(offset=torch.zeros_like(packed.offset)))
        * rows.scale,
    }
    for products in mutants.values():
        with pytest.raises(AssertionError, match=r"norm|all"):
            assert_within_steps(products, hidden, weight)


@needs_int8
@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_rows_give_zeros(dtype):
    hidden = random(4, INPUTS, dtype=dtype)
    hidden[1] = 0
    products = Int8Linear.from_linear(linear_of(random(OUTPUTS, INPUTS, dtype=dtype)))(hidden)
    assert torch.equal(products[1], torch.zeros(OUTPUTS, dtype=dtype))
    assert torch.isfinite(products).all()
    assert torch.equal(
        Int8GatedMLP.from_mlp(gated_mlp(dtype))(hidden)[1], torch.zeros_like(hidden[1])
    )


@needs_int8
def test_zero_weights_give_zeros():
    weight = random(OUTPUTS, INPUTS)
    weight[3] = 0
    products = Int8Linear.from_linear(linear_of(weight))(random(5, INPUTS, seed=1))
    assert (products[:, 3] == 0).all()


@needs_int8
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e-38, 1e-30, 1e30, 3e38])
def test_ends_of_the_range(dtype, size):
    """Tiny rows may become zeros; large ones keep their digits; neither becomes NaN."""
    hidden = torch.full((2, INPUTS), size, dtype=dtype)
    weight = torch.full((OUTPUTS, INPUTS), 1e-3, dtype=dtype)
    products = Int8Linear.from_linear(linear_of(weight))(hidden)
    exact = (hidden.double() @ weight.double().T).expand_as(products)
    if size > 1e-29:
        assert torch.allclose(products.double(), exact, rtol=0.02)
    else:
        assert (products.double().abs() <= exact.abs() * 1.1 + 1e-30).all()


@needs_int8
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_outlier_costs_its_own_row_alone(dtype):
    weight = random(OUTPUTS, INPUTS, seed=1, dtype=dtype)
    linear = Int8Linear.from_linear(linear_of(weight))
    hidden = random(5, INPUTS, dtype=dtype)
    with_outlier = hidden.clone()
    with_outlier[2, 7] = 3e4
    plain, changed = linear(hidden), linear(with_outlier)
    others = [0, 1, 3, 4]
    assert torch.equal(plain[others], changed[others])
    assert_within_steps(changed, with_outlier, weight)


@needs_int8
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_stays_none(dtype, bad):
    hidden = random(5, INPUTS, dtype=dtype)
    hidden[2, 7] = bad
    for module in (
        Int8Linear.from_linear(linear_of(random(OUTPUTS, INPUTS, seed=1, dtype=dtype))),
        Int8GatedMLP.from_mlp(gated_mlp(dtype)),
    ):
        finite = torch.isfinite(module(hidden))
        assert not finite[2].any()
        assert finite[[0, 1, 3, 4]].all()


@needs_int8
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_damaged_weights_give_no_numbers(bad):
    weight = random(OUTPUTS, INPUTS)
    weight[4, 9] = bad
    finite = torch.isfinite(Int8Linear.from_linear(linear_of(weight))(random(3, INPUTS, seed=1)))
    assert not finite[:, 4].any()
    assert finite[:, :4].all()


@needs_int8
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, INPUTS), (2, 0, INPUTS), (0, 3, INPUTS)])
def test_empty_batches(dtype, shape):
    hidden = torch.empty(shape, dtype=dtype)
    linear = Int8Linear.from_linear(linear_of(random(OUTPUTS, INPUTS, dtype=dtype)))
    assert linear(hidden).shape == (*shape[:-1], OUTPUTS)
    assert linear(hidden).dtype == dtype
    transformed = Int8GatedMLP.from_mlp(gated_mlp(dtype))(hidden)
    assert transformed.shape == shape
    assert transformed.dtype == dtype


@needs_int8
@pytest.mark.parametrize("dtype", DTYPES)
def test_views_are_read_as_what_they_show(dtype):
    linear = Int8Linear.from_linear(linear_of(random(OUTPUTS, INPUTS, seed=1, dtype=dtype)))
    mlp = Int8GatedMLP.from_mlp(gated_mlp(dtype))
    views = {
        "transposed": random(INPUTS, 6, dtype=dtype).T,
        "batch and time swapped": random(5, 2, INPUTS, dtype=dtype).transpose(0, 1),
        "every other column": random(6, 2 * INPUTS, dtype=dtype)[:, ::2],
        "one row for all": random(1, INPUTS, dtype=dtype).expand(4, -1),
    }
    for view in views.values():
        before = view.clone()
        for module in (linear, mlp):
            assert torch.equal(module(view), module(view.contiguous()))
        assert torch.equal(view, before)


@needs_int8
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_rows", [1, 255, 256, 257, 600])
def test_mlp_is_near_the_float_one(dtype, num_rows):
    """Rows are taken in blocks; a row is the same in any block."""
    mlp = gated_mlp(dtype)
    hidden = random(num_rows, INPUTS, dtype=dtype)
    exact = mlp.double()(hidden.double())
    quantized = Int8GatedMLP.from_mlp(gated_mlp(dtype))
    result = quantized(hidden)
    assert result.dtype == dtype
    error = (result.double() - exact).norm(dim=1) / exact.norm(dim=1)
    # Two products with errors of 1.2% each, a gelu between them, and one with 2% of a factor that
    # has few large values; measured 2.5%.
    assert error.max() < 0.06
    assert torch.allclose(quantized(hidden[-1:]), result[-1:], rtol=0.02, atol=1e-3)
    assert torch.equal(quantized(hidden.view(1, num_rows, INPUTS))[0], result)


@needs_int8
def test_mlp_without_the_fused_gelu_is_the_same(monkeypatch):
    hidden = random(50, INPUTS)
    assert int8_support.has_fused_gelu(torch.float32)
    fused = Int8GatedMLP.from_mlp(gated_mlp())
    monkeypatch.setattr(int8_module, "has_fused_gelu", lambda dtype: False)
    plain = Int8GatedMLP.from_mlp(gated_mlp())
    assert (fused._ones is None, plain._ones is None) == (False, True)
    assert torch.allclose(fused(hidden), plain(hidden), atol=2e-3)


@needs_int8
@pytest.mark.parametrize("dtype", DTYPES)
def test_fused_gelu(dtype):
    assert int8_support.has_fused_gelu(dtype)
    values = torch.cat((10 * random(40, 24), torch.zeros(1, 24))).to(dtype)
    values[3, 4], values[5, 6] = float("nan"), float("inf")
    fused = kernels.gelu_tanh(values, torch.ones(24, 1, 1, 1, dtype=dtype))
    plain = kernels.plain_gelu_tanh(values)
    assert torch.allclose(fused, plain, rtol=8 * torch.finfo(dtype).eps, atol=1e-5, equal_nan=True)


@needs_int8
def test_floats_are_left_and_released():
    weight = random(640, 640)
    linear = linear_of(weight.clone())
    quantized = Int8Linear.from_linear(linear)
    assert torch.equal(linear.weight, weight)
    assert 640 * 640 <= quantized.num_bytes < 1.05 * 640 * 640
    assert not list(quantized.parameters())


@needs_int8
def test_threads_share_a_module():
    mlp = Int8GatedMLP.from_mlp(gated_mlp())
    batches = [random(30 + index, INPUTS, seed=index) for index in range(8)]
    expected = [mlp(batch) for batch in batches]

    def run(batch):
        with torch.inference_mode():
            return mlp(batch)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for got, wanted in zip(pool.map(run, batches), expected, strict=True):
                assert torch.equal(got, wanted)


TEXTS = [
    "The capital of China is Beijing.",
    "Gravity attracts bodies toward one another.",
    "Beijing has been a capital for centuries, and is a city of many millions of people.",
    "",
]
QUERIES = ["What is the capital of China?", "Why do apples fall?"]


def plain_reranker(model, dtype):
    return KaLMReranker(model, dtype=dtype, engine="eager", prefix_cache_bytes=0)


def margins(reranker, states):
    return torch.tensor(
        [
            [pair.margin for pair in reranker.score(query, states, return_margin=True)]
            for query in QUERIES
        ]
    )


@needs_int8
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_margins_of_pico(dtype):
    reranker = plain_reranker("pico", dtype)
    states = reranker.encode(TEXTS)
    exact = margins(reranker, states)
    before = reranker._pipeline.model
    float_bytes = sum(p.nbytes for p in before.model.decoder.parameters())
    quantize_decoder(before)
    changes = (margins(reranker, states) - exact).abs()
    # Margins differ by several units; of 1,200 on scifact the largest change was 0.13.
    assert exact.max() - exact.min() > 4
    assert changes.max() < 0.2
    assert changes.max() > 0  # it did quantise
    assert torch.equal(reranker.encode(TEXTS).slots, states.slots)  # the encoder is as it was
    assert sum(p.nbytes for p in before.model.decoder.parameters()) < 0.05 * float_bytes
    quantize_decoder(before)  # nothing is left to do
    assert torch.equal((margins(reranker, states) - exact).abs(), changes)


@needs_int8
def test_margins_of_a_random_model(tmp_path):
    path = build_checkpoint(tmp_path / "tiny", attention_bias=True, **TINY)
    reranker = plain_reranker(str(path), "float32")
    states = reranker.encode(TEXTS)
    exact = margins(reranker, states)
    quantize_decoder(reranker._pipeline.model)
    changed = margins(reranker, states)
    assert (changed - exact).abs().max() < 0.1 * exact.std() + 0.1


@needs_int8
def test_a_pair_scores_the_same_beside_others():
    reranker = plain_reranker("pico", "float32")
    states = reranker.encode(TEXTS)
    quantize_decoder(reranker._pipeline.model)
    together = margins(reranker, states)
    for index in range(len(TEXTS)):
        alone = margins(reranker, states[index])
        # Float32 sums in another order can push a number over the edge of a step.
        assert torch.allclose(alone[:, 0], together[:, index], atol=0.03)


@needs_int8
def test_damaged_states_are_still_refused():
    reranker = plain_reranker("pico", "float32")
    quantize_decoder(reranker._pipeline.model)
    states = reranker.encode(TEXTS)
    states.slots[1, 5] = float("nan")
    with pytest.raises(NonFiniteScoreError):
        margins(reranker, states)


@needs_int8
def test_other_dtypes_and_devices_are_refused():
    model = plain_reranker("pico", "float16")._pipeline.model
    with pytest.raises(InvalidOptionError, match=r"float32 or bfloat16; got torch\.float16 on cpu"):
        quantize_decoder(model)


@needs_int8
def test_fused_layers_are_refused_before_anything_changes():
    model = plain_reranker("pico", "float32")._pipeline.model
    last = model.model.decoder.layers[-1]
    last.mlp = nn.Identity()
    with pytest.raises(InvalidOptionError, match="mlp of the decoder is a Identity"):
        quantize_decoder(model)
    assert not any(isinstance(module, Int8Linear) for module in model.modules())


@pytest.fixture
def fresh_support():
    int8_support.int8_problem.cache_clear()
    int8_support.has_fused_gelu.cache_clear()
    yield
    int8_support.int8_problem.cache_clear()
    int8_support.has_fused_gelu.cache_clear()


def refused(match):
    assert int8_instructions() is None
    model = plain_reranker("pico", "float32")._pipeline.model
    names = {type(module) for module in model.modules()}
    with pytest.raises(InvalidOptionError, match=match) as caught:
        quantize_decoder(model)
    assert "float32" in caught.value.hint
    assert {type(module) for module in model.modules()} == names
    with pytest.raises(InvalidOptionError, match=match):
        Int8Linear.from_linear(linear_of(random(OUTPUTS, INPUTS)))


def test_processors_without_instructions(monkeypatch, fresh_support):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    refused("the processor has none of AMX int8, AVX-512 VNNI")


@pytest.mark.parametrize(
    ("capabilities", "name"),
    [
        ({"amx_int8": True, "avx512_vnni": True}, "AMX int8"),
        ({"amx_int8": False, "avx512_vnni": True}, "AVX-512 VNNI"),
        ({"avx_vnni": True}, "AVX-VNNI"),
        ({"amx_int8": False}, None),
    ],
)
def test_names_of_instructions(monkeypatch, capabilities, name):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert int8_support._processor_instructions() == name


@pytest.mark.parametrize(
    ("amx", "vnni", "name"),
    [(True, True, "AMX int8"), (False, True, "AVX-512 VNNI"), (False, False, None)],
)
def test_instructions_of_older_releases(monkeypatch, amx, vnni, name):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: vnni, raising=False)
    assert int8_support._processor_instructions() == name


@needs_int8
def test_releases_without_the_operations(monkeypatch, fresh_support):
    def missing(weight):
        return torch.ops.onednn.no_such_operation(weight)

    monkeypatch.setattr(kernels, "pack_weight", missing)
    refused(r"PyTorch .* lacks the operations \(.*no_such_operation")


@needs_int8
def test_wrong_products_are_noticed(monkeypatch, fresh_support):
    right = kernels.multiply
    monkeypatch.setattr(kernels, "multiply", lambda rows, weight: right(rows, weight).roll(1, 0))
    refused("its int8 products")


@needs_int8
def test_another_dtype_is_noticed(monkeypatch, fresh_support):
    right = kernels.multiply
    monkeypatch.setattr(kernels, "multiply", lambda rows, weight: right(rows, weight).float())
    refused("int8 products of another kind")


@needs_int8
def test_reference_code_is_noticed(monkeypatch, fresh_support):
    """Signed rows give the right products in oneDNN, hundreds of times slower."""

    def signed(rows, weight):
        return torch.ops.onednn.qlinear_pointwise(
            rows.levels.bitwise_xor(128).view(torch.int8),
            1.0,
            0,
            weight.packed,
            weight.scale,
            weight.zero_points,
            None,
            1.0,
            0,
            rows.scale.dtype,
            "none",
            [],
            "",
        )

    rows, packed = kernels.quantize_rows(random(32, 256)), kernels.pack_weight(random(256, 256))
    assert torch.allclose(signed(rows, packed), kernels.multiply(rows, packed), atol=0.1)
    if int8_support._best_time(lambda: signed(rows, packed)) < 2e-3:
        pytest.skip("signed rows are fast here")
    monkeypatch.setattr(kernels, "multiply", signed)
    refused("times as long as float32")


@needs_int8
@pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or sys.platform != "linux", reason="oneDNN on Linux"
)
def test_processors_that_saturate_are_noticed():
    """oneDNN held to instructions without VNNI, which add pairs of products in 16 bits."""
    program = (
        "from kalm_reranker.engine.int8_support import int8_problem, int8_instructions;"
        "print(int8_problem(), '|', int8_instructions())"
    )
    source = Path(int8_module.__file__).parents[2]
    environment = os.environ | {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "PYTHONPATH": str(source),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "its int8 products overflow | None"


@pytest.mark.slow
@needs_int8
def test_benchmark(tmp_path):
    demo = write_set(tmp_path / "demo")
    random_model = ("--shape", "tiny-shape", "--model-folder", tmp_path)
    quick = ("--repeat", 1, "--candidates", 1)
    process, results = run_benchmark("int8.py", demo, *random_model, *quick)
    names = [row["variant"] for row in results["layers"]]
    assert names[0] == "float32"
    assert names[-1] == "int8 in bfloat16"
    assert [row["variant"] for row in results["model"]] == names
    assert [row["variant"] for row in results["sets"]["demo"]] == names
    assert all(row["prompt_ms"] > row["query_ms"] > 0 for row in results["layers"])
    changes = {row["variant"]: row["largest_change"] for row in results["sets"]["demo"]}
    assert changes["float32"] == 0
    assert 0 < changes["int8 in float32"] < 0.2
    assert results["loading"]["bfloat16_bytes"] > 1.5 * results["loading"]["int8_bytes"]
    assert "int8 in bfloat16" in process.stdout
