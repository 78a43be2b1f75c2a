"""Products of 8-bit rows and 8-bit weights on a CPU, by PyTorch operations that are not public.

Shape letters: M rows, K inputs, N outputs.

oneDNN multiplies unsigned rows with signed weights in the processor's int8 instructions; signed
rows take its reference code, a thousand times slower. So rows are stored with 128 added, and what
that adds to each product, 128 times the sum of a weight's row, comes off through the bias.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

# Of 127 steps: room for a scale that is rounded to bfloat16 (by up to 1/256) to be too small.
_STEPS = 126.5
_OFFSET = 128
# Rows below this have no digits worth keeping; its inverse is still a float32.
_SMALLEST = 2.0**-100


class QuantizedRows(NamedTuple):
    """Rows [M, K] as bytes, each with a scale of its own.

    Args:
        levels: [M, K] uint8, 128 for zero.
        scale: [M, 1] in the dtype of the product: what a level is worth. Non-finite for rows that
            hold a NaN or an infinity.
    """

    levels: Tensor
    scale: Tensor


class PackedWeight(NamedTuple):
    """A weight [N, K] in 8 bits, in the order that oneDNN reads it.

    Args:
        packed: The levels, opaque.
        scale: [N] float32.
        zero_points: [N] int32, all 0.
        offset: [N] float32, what the rows' added 128 must be corrected by.
    """

    packed: Tensor
    scale: Tensor
    zero_points: Tensor
    offset: Tensor

    @property
    def num_bytes(self) -> int:
        """Bytes of the weight and of what belongs to it."""
        outputs, inputs = self.packed.shape[1], self.packed.shape[0]
        return outputs * inputs + 3 * 4 * outputs


def quantize_rows(rows: Tensor, factor: Tensor | None = None) -> QuantizedRows:
    """Returns rows as bytes, with symmetric steps and the largest value of each row at the end.

    A scale per row keeps pairs apart: what a row becomes does not depend on the rows beside it. The
    scale is rounded before it is used, so that multiplying with it in the model's dtype adds no
    error to the whole row.

    Args:
        rows: [M, K] float32 or bfloat16.
        factor: [M, 1] finite or not; the rows stand for `rows * factor`.
    """
    largest = _largest_magnitude(rows)  # [M, 1] float32
    if factor is not None:
        largest = largest * factor.float()
    scale = (largest.clamp_min(_SMALLEST) / _STEPS).to(rows.dtype)
    inverse = scale.float().reciprocal()
    if factor is not None:
        inverse *= factor.float()
    wide = rows.float()
    wide = wide * inverse if wide is rows else wide.mul_(inverse)
    # Rounded, then converted with the sign, then shifted by flipping the top bit: conversions to
    # unsigned bytes are not vectorised, and cost more than all of this.
    levels = wide.round_().to(torch.int8).view(torch.uint8)
    return QuantizedRows(levels.bitwise_xor_(_OFFSET), scale)


def pack_weight(weight: Tensor) -> PackedWeight:
    """Quantises a weight [N, K] with symmetric steps, a scale for each output."""
    wide = weight.detach().float()
    scale = _largest_magnitude(wide).clamp_min(_SMALLEST) / 127  # [N, 1]
    levels = (wide / scale).round_().to(torch.int8)
    sums = levels.sum(1, dtype=torch.int32)
    return PackedWeight(
        packed=torch.ops.onednn.qlinear_prepack(levels, None),
        scale=scale.flatten(),
        zero_points=torch.zeros(len(levels), dtype=torch.int32),
        offset=-_OFFSET * sums * scale.flatten(),
    )


def multiply(rows: QuantizedRows, weight: PackedWeight) -> Tensor:
    """Returns the products [M, N] in the scale's dtype, not yet multiplied with the rows' scale."""
    return torch.ops.onednn.qlinear_pointwise(  # type: ignore[no-any-return]
        rows.levels,
        1.0,  # scale and zero point of the rows
        0,
        weight.packed,
        weight.scale,
        weight.zero_points,
        weight.offset,
        1.0,  # scale and zero point of the products
        0,
        rows.scale.dtype,
        "none",
        [],
        "",
    )


def gelu_tanh(values: Tensor, ones: Tensor) -> Tensor:
    """Returns gelu (tanh form) of contiguous values [M, N].

    Taken as a convolution of width 1 that oneDNN ends with a gelu of its own: a third of the time
    of PyTorch's on a CPU.

    Args:
        values: [M, N] float32 or bfloat16.
        ones: [N, 1, 1, 1], ones of the same dtype.
    """
    num_rows, width = values.shape
    image = values.view(1, num_rows, 1, width).permute(0, 3, 1, 2)  # [1, N, M, 1], channels last
    result = torch.ops.mkldnn._convolution_pointwise(
        image, ones, None, [0, 0], [1, 1], [1, 1], width, "gelu", [], "tanh"
    )
    return result.permute(0, 2, 3, 1).reshape(num_rows, width)  # type: ignore[no-any-return]


def plain_gelu_tanh(values: Tensor) -> Tensor:
    """The same as `gelu_tanh` by PyTorch's public function."""
    return nn.functional.gelu(values, approximate="tanh")


def _largest_magnitude(rows: Tensor) -> Tensor:
    """Returns [M, 1] float32, NaN where a row holds one."""
    if rows.dtype == torch.bfloat16:
        # Without the sign, the order of floats is that of their bits, and NaN comes after infinity;
        # integers are compared three times as fast.
        bits = rows.view(torch.int16) & 0x7FFF
        return bits.amax(-1, keepdim=True).view(torch.bfloat16).float()
    return rows.abs().amax(-1, keepdim=True)
