"""Whether this processor and this PyTorch multiply 8-bit numbers rightly, and fast.

The operations of `int8_kernels` are not public: a release may drop or change them. Processors
without VNNI saturate sums of products and give wrong numbers without a word, and some combinations
of types run in code that is meant for checking. So they are tried once before they are trusted.
"""

import time
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from kalm_reranker.engine import int8_kernels as kernels

# Names in PyTorch's list of what the processor can, in the order of what they bring.
_CAPABILITIES = (
    ("amx_int8", "AMX int8"),
    ("avx512_vnni", "AVX-512 VNNI"),
    ("avx_vnni", "AVX-VNNI"),
)
# For releases that lack the list.
_PROBES = (("_is_amx_tile_supported", "AMX int8"), ("_is_vnni_supported", "AVX-512 VNNI"))

_ROWS, _INPUTS, _OUTPUTS = 32, 160, 96
# Reference code takes hundreds of times as long as float32; what is wanted takes half as long. The
# limit leaves room for machines that are busy while this is measured.
_SLOWEST = 60.0
_TRIALS = 20


def int8_instructions() -> str | None:
    """Names the instructions that int8 weights run on; None where they bring nothing.

    None as well where the processor has them and this PyTorch does not use them rightly.
    """
    return None if int8_problem() else _processor_instructions()


@cache
def int8_problem() -> str | None:
    """Returns why int8 weights cannot be used here, as the end of a sentence; None if they can."""
    if _processor_instructions() is None:
        names = ", ".join(name for _, name in _CAPABILITIES)
        return f"the processor has none of {names}"
    try:
        return _wrong_sums() or _wrong_products() or _slow_products()
    except (AttributeError, RuntimeError, NotImplementedError) as error:
        first_line = str(error).partition("\n")[0]
        return f"PyTorch {torch.__version__} lacks the operations ({first_line})"


@cache
def has_fused_gelu(dtype: torch.dtype) -> bool:
    """Whether `int8_kernels.gelu_tanh` works in this dtype and gives what PyTorch's gelu gives."""
    values = torch.linspace(-12.0, 12.0, _ROWS * _OUTPUTS).view(_ROWS, _OUTPUTS).to(dtype)
    try:
        fused = kernels.gelu_tanh(values, torch.ones(_OUTPUTS, 1, 1, 1, dtype=dtype))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    exact = kernels.plain_gelu_tanh(values.double())
    # Some steps of the dtype at the value's size, and at that of 1 for the tails.
    allowed = 8 * torch.finfo(dtype).eps * (exact.abs() + 1.0)
    return fused.dtype == dtype and bool(((fused.double() - exact).abs() <= allowed).all())


def _processor_instructions() -> str | None:
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        present = capabilities()
        return next((name for key, name in _CAPABILITIES if present.get(key)), None)
    for probe, name in _PROBES:
        supported = getattr(torch.cpu, probe, None)
        if supported is not None and supported():
            return name
    return None


def _wrong_sums() -> str | None:
    """Largest levels against largest weights: pairs of products that do not fit 16 bits."""
    levels = torch.full((_ROWS, _INPUTS), 255, dtype=torch.uint8)
    levels[1::2] = 1
    signs = torch.ones(_OUTPUTS, _INPUTS)
    signs[1::3] = -1
    signs[2::3, ::2] = -1
    weight = kernels.pack_weight(127 * signs)  # a scale of 1
    rows = kernels.QuantizedRows(levels, torch.ones(_ROWS, 1))
    exact = (levels.double() - 128) @ (127 * signs.double()).T
    if not torch.equal(kernels.multiply(rows, weight).double(), exact):
        return "its int8 products overflow"
    return None


def _wrong_products() -> str | None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(_ROWS, _INPUTS, generator=generator)
    weight = torch.randn(_OUTPUTS, _INPUTS, generator=generator)
    packed = kernels.pack_weight(weight)
    exact = hidden.double() @ weight.double().T
    for dtype in (torch.float32, torch.bfloat16):
        rows = kernels.quantize_rows(hidden.to(dtype))
        products = kernels.multiply(rows, packed) * rows.scale
        if products.dtype != dtype or products.shape != exact.shape:
            return f"PyTorch {torch.__version__} gives int8 products of another kind"
        error = (products.double() - exact).norm() / exact.norm()
        if not error < 0.03:  # 0.011 for normally distributed numbers
            return f"its int8 products are wrong by {error:.0%}"
    return None


def _slow_products() -> str | None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(_ROWS, _INPUTS, generator=generator)
    weight = torch.randn(_OUTPUTS, _INPUTS, generator=generator)
    packed, rows = kernels.pack_weight(weight), kernels.quantize_rows(hidden)
    plain_s = _best_time(lambda: nn.functional.linear(hidden, weight))
    int8_s = _best_time(lambda: kernels.multiply(rows, packed))
    # An operation takes some microseconds however small it is.
    if int8_s > _SLOWEST * max(plain_s, 2e-5):
        return f"int8 products take {int8_s / plain_s:.0f} times as long as float32 ones"
    return None


def _best_time(run: Callable[[], Tensor]) -> float:
    run()  # compiles the kernel
    best = float("inf")
    for _ in range(_TRIALS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best
