"""Decoder weights in 8 bits, for processors that multiply bytes faster than floats.

Opt-in, and outside the exactness contract: margins move (benchmarks/int8.py measures by how much).
The encoder keeps its weights, so stored states do not depend on this.

Weights have a scale for each output, rows of activations a scale each, found anew in every pass;
nothing has to be calibrated, and a pair's score does not depend on the pairs beside it. What was
tried besides and brought nothing measurable on trained weights: clipped weights, steps that are not
symmetric, and scales moved between inputs and weights.

Shape letters: M rows, D hidden width, F MLP width, K inputs, N outputs.
"""

import torch
from torch import Tensor, nn

from kalm_reranker.engine import int8_kernels as kernels
from kalm_reranker.engine.int8_support import has_fused_gelu, int8_instructions, int8_problem
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.model.layers import GatedMLP
from kalm_reranker.model.reranker_model import RerankerModel

__all__ = ["Int8GatedMLP", "Int8Linear", "int8_instructions", "quantize_decoder"]

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
_DTYPES = (torch.float32, torch.bfloat16)

# Rows that go through the MLP together: what lies between its products stays in the cache, which
# is worth a tenth of its time.
_BLOCK_ROWS = 256


class Int8Linear(nn.Module):
    """A linear layer with 8-bit weights. For inference alone: no gradients, no state dict.

    Read-only once it is built, so threads may share it.

    Args:
        weight: The packed weight [N, K].
        bias: [N], as the float layer has it; None for none.
    """

    def __init__(self, weight: kernels.PackedWeight, bias: Tensor | None) -> None:
        super().__init__()
        self._weight = weight
        self._bias = bias

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> "Int8Linear":
        """Quantises a float layer, which is left as it is.

        Raises:
            InvalidOptionError: int8 weights cannot be used here.
        """
        _require_int8()
        bias = None if linear.bias is None else linear.bias.detach().clone()
        return cls(kernels.pack_weight(linear.weight), bias)

    @property
    def num_bytes(self) -> int:
        """Bytes of weights, scales and bias."""
        return self._weight.num_bytes + (0 if self._bias is None else self._bias.nbytes)

    def forward(self, hidden: Tensor) -> Tensor:
        """[.., K] float32 or bfloat16 -> [.., N] of the same dtype.

        Rows with a NaN or an infinity give rows without a finite number.
        """
        rows = hidden.reshape(-1, hidden.shape[-1]).contiguous()  # [M, K]
        products = self.multiply(kernels.quantize_rows(rows))
        return products.view(*hidden.shape[:-1], products.shape[-1])

    def multiply(self, rows: kernels.QuantizedRows) -> Tensor:
        """The layer for rows that are quantised already, which layers may share: [M, N]."""
        products = kernels.multiply(rows, self._weight).mul_(rows.scale)
        return products if self._bias is None else products.add_(self._bias.to(products.dtype))


class Int8GatedMLP(nn.Module):
    """A `GatedMLP` with 8-bit weights. For inference alone: no gradients, no state dict.

    Read-only once it is built, so threads may share it.

    Args:
        gate: Packed weight [F, D].
        up: Packed weight [F, D].
        down: Packed weight [D, F].
        ones: [F, 1, 1, 1] in the model's dtype for `int8_kernels.gelu_tanh`; None where that does
            not work.
    """

    def __init__(
        self,
        gate: kernels.PackedWeight,
        up: kernels.PackedWeight,
        down: kernels.PackedWeight,
        ones: Tensor | None,
    ) -> None:
        super().__init__()
        self._gate, self._up, self._down = gate, up, down
        self._ones = ones

    @classmethod
    def from_mlp(cls, mlp: GatedMLP) -> "Int8GatedMLP":
        """Quantises a float MLP, which is left as it is.

        Raises:
            InvalidOptionError: int8 weights cannot be used here.
        """
        _require_int8()
        dtype, width = mlp.gate_proj.weight.dtype, mlp.gate_proj.out_features
        ones = torch.ones(width, 1, 1, 1, dtype=dtype) if has_fused_gelu(dtype) else None
        return cls(
            kernels.pack_weight(mlp.gate_proj.weight),
            kernels.pack_weight(mlp.up_proj.weight),
            kernels.pack_weight(mlp.down_proj.weight),
            ones,
        )

    @property
    def num_bytes(self) -> int:
        """Bytes of weights and scales."""
        ones = 0 if self._ones is None else self._ones.nbytes
        return sum(weight.num_bytes for weight in (self._gate, self._up, self._down)) + ones

    def forward(self, hidden: Tensor) -> Tensor:
        """[.., D] float32 or bfloat16, keeps shape and dtype.

        Rows with a NaN or an infinity give rows without a finite number.
        """
        rows = hidden.reshape(-1, hidden.shape[-1]).contiguous()  # [M, D]
        result = torch.empty_like(rows)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            self._transform(rows[block], result[block])
        return result.view(hidden.shape)

    def _transform(self, rows: Tensor, out: Tensor) -> None:
        """Writes the MLP of rows [M, D] into `out`."""
        quantized = kernels.quantize_rows(rows)
        gate = kernels.multiply(quantized, self._gate).mul_(quantized.scale)  # [M, F]
        gate = self._gelu(gate)
        # The scale of the rows that `up` lacks goes into that of the next ones.
        gated = gate.mul_(kernels.multiply(quantized, self._up))
        gated_rows = kernels.quantize_rows(gated, quantized.scale)
        torch.mul(kernels.multiply(gated_rows, self._down), gated_rows.scale, out=out)

    def _gelu(self, gate: Tensor) -> Tensor:
        if self._ones is None or self._ones.dtype != gate.dtype:
            return kernels.plain_gelu_tanh(gate)
        return kernels.gelu_tanh(gate, self._ones)


def quantize_decoder(model: RerankerModel) -> None:
    """Replaces the decoder's projections and MLPs by 8-bit ones, in place.

    Layer after layer, so that the float weights of one at most are in memory besides. Embeddings,
    norms and the encoder stay as they are. What is quantised already stays, too.

    Args:
        model: On the CPU, in float32 or bfloat16, with plain linear layers: other executions take
            their turn after this one. Its decoder can no longer be saved, moved or converted.

    Raises:
        InvalidOptionError: Another device or dtype, a decoder whose layers were replaced by others
            before, or this processor or this PyTorch cannot multiply 8-bit numbers. The model is
            as it was.
    """
    if model.device.type != "cpu" or model.dtype not in _DTYPES:
        raise InvalidOptionError(
            "int8 weights need a model on the CPU in float32 or bfloat16; got "
            f"{model.dtype} on {model.device}.",
            hint="On a GPU use bfloat16.",
        )
    _require_int8()
    owners = [
        owner
        for layer in model.model.decoder.layers
        for owner in ((layer.self_attn, _PROJECTIONS), (layer, ("mlp",)))
    ]
    named = [(owner, name) for owner, names in owners for name in names]
    for owner, name in named:
        part = getattr(owner, name)
        if not isinstance(part, nn.Linear | GatedMLP | Int8Linear | Int8GatedMLP):
            raise InvalidOptionError(
                f"int8 weights are made of plain linear layers; {name} of the decoder is a "
                f"{type(part).__name__}.",
                hint="Quantise first; load the model with engine='eager'.",
            )
    for owner, name in named:
        part = getattr(owner, name)
        if isinstance(part, nn.Linear):
            setattr(owner, name, Int8Linear.from_linear(part))
        elif isinstance(part, GatedMLP):
            setattr(owner, name, Int8GatedMLP.from_mlp(part))


def _require_int8() -> None:
    problem = int8_problem()
    if problem is not None:
        raise InvalidOptionError(
            f"int8 weights cannot be used on this machine: {problem}.",
            hint="Leave them out: bfloat16 and float32 run everywhere.",
        )
