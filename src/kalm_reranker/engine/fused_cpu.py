"""oneDNN's linear layers on a CPU: weights laid out once, GELU and product done while writing.

PyTorch's eager GELU-tanh takes a third of the matrix product before it. oneDNN applies it, and the
gated MLP's product, to results that are still in registers. The operators are those that PyTorch's
own compiler puts into CPU code; they are not public, so each is tried before it is relied upon.

Rounding differs from eager execution in one place: the gate is not rounded to the model's dtype
before its GELU.
"""

import platform
from functools import cache

import torch
from torch import Tensor, nn

from kalm_reranker.model.layers import GatedMLP

# PyTorch keeps a kernel for every number of rows it has seen, and takes milliseconds to make one.
# Rows are padded to a multiple of these, so that there are few.
_ROW_MULTIPLES = ((16, 1), (256, 16), (1 << 62, 64))  # (up to so many rows, multiple)
_DTYPES = (torch.float32, torch.bfloat16)


class PackedLinear(nn.Module):
    """What an `nn.Linear` computes, with its weight in oneDNN's layout.

    Args:
        linear: Gives weight [N, K] and bias; not needed afterwards.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._out_features = linear.out_features
        self._bias = linear.bias
        self._weight = _pack(linear.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """[.., K] -> [.., N], in the dtype of the weight."""
        rows, count = _padded_rows(inputs)
        outputs = _product(rows, self._weight, self._bias)
        return outputs[:count].view(*inputs.shape[:-1], self._out_features)


class FusedGatedMLP(nn.Module):
    """What a `GatedMLP` computes, in three products with nothing between them.

    Args:
        mlp: Gives the weights; not needed afterwards.
    """

    def __init__(self, mlp: GatedMLP) -> None:
        super().__init__()
        self._gate = _pack(mlp.gate_proj.weight)
        self._up = _pack(mlp.up_proj.weight)
        self._down = _pack(mlp.down_proj.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        """[.., D] -> [.., D]."""
        rows, count = _padded_rows(hidden)
        gate = _product(rows, self._gate, None, "gelu", "tanh")
        inner = torch.ops.mkldnn._linear_pointwise.binary(rows, gate, self._up, None, "mul")
        return _product(inner, self._down)[:count].view(hidden.shape)


def fuse_linear_layers(module: nn.Module) -> None:
    """Replaces every linear layer and gated MLP inside a module; their weights are released."""
    for name, child in module.named_children():
        if isinstance(child, GatedMLP):
            setattr(module, name, FusedGatedMLP(child))
        elif isinstance(child, nn.Linear):
            setattr(module, name, PackedLinear(child))
        else:
            fuse_linear_layers(child)


@cache
def why_not_fused(dtype: torch.dtype) -> str | None:
    """Returns None where these layers can be used on a CPU, else the reason why not."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"oneDNN's layers were not measured on {platform.machine()} processors"
    if dtype not in _DTYPES:
        return f"oneDNN's layers do not take {str(dtype).removeprefix('torch.')}"
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "this PyTorch was built without oneDNN"
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "oneDNN does not compute in bfloat16 on this processor"
    try:
        return None if _computes_the_same(dtype) else "oneDNN's layers gave wrong numbers"
    except Exception as error:  # operators that are not public may be gone, or want other arguments
        return f"this PyTorch lacks oneDNN's layers ({type(error).__name__})"


def _computes_the_same(dtype: torch.dtype) -> bool:
    """Compares both layers with plain ones."""
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(32, 48, dtype=dtype)
    mlp = GatedMLP.__new__(GatedMLP)
    nn.Module.__init__(mlp)
    mlp.gate_proj, mlp.up_proj, mlp.down_proj = (
        nn.Linear(*shape, bias=False, dtype=dtype) for shape in ((32, 48), (32, 48), (48, 32))
    )
    with torch.inference_mode():
        for layer in (linear, mlp.gate_proj, mlp.up_proj, mlp.down_proj):
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / 6)
        inputs = torch.randn(17, 32, generator=generator).to(dtype)
        return all(
            torch.allclose(
                fused(inputs).float(), plain.float()(inputs.float()), atol=8 * _epsilon(dtype)
            )
            for fused, plain in ((PackedLinear(linear), linear), (FusedGatedMLP(mlp), mlp))
        )


def _epsilon(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def _pack(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())  # type: ignore[no-any-return]


def _product(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str = "none",
    algorithm: str = "",
) -> Tensor:
    """Returns rows [M, K] @ weight [N, K].T, with an activation before it is rounded."""
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, activation, [], algorithm)  # type: ignore[no-any-return]


def _padded_rows(inputs: Tensor) -> tuple[Tensor, int]:
    """Returns inputs [.., K] as rows [M, K], with zeros below, and how many rows are theirs."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    count = len(rows)
    multiple = next(multiple for largest, multiple in _ROW_MULTIPLES if count <= largest)
    missing = -count % multiple
    return (nn.functional.pad(rows, (0, 0, 0, missing)) if missing else rows), count
