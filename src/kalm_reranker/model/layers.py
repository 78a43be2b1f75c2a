"""Norm, rotary positions, gated MLP and embedding of T5Gemma2: what both stacks are built from.

Shape letters: B batch, T tokens, D hidden width, K head width.

Source: `modeling_t5gemma2.py` of Transformers 5.23; the order of roundings follows it, since in
bfloat16 it decides whether scores match.
"""

import torch
from torch import Tensor, nn

from kalm_reranker.model.config import RotaryConfig, StackConfig


class RMSNorm(nn.Module):
    """Root-mean-square norm that scales by (1 + weight), computed in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, hidden: Tensor) -> Tensor:
        """Normalises the last dimension; keeps shape and dtype."""
        # One pass with float32 sums. Converting first and squaring after is the same number and
        # takes nine times as long on a CPU.
        length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=torch.float32)
        scale = torch.rsqrt(length.square() / hidden.shape[-1] + self.eps)
        return (hidden * scale * (1.0 + self.weight.float())).type_as(hidden)


class GatedMLP(nn.Module):
    """gelu_tanh(gate(x)) * up(x), projected back: [.., D] -> [.., D]."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_width, config.mlp_width, bias=False)
        self.up_proj = nn.Linear(config.hidden_width, config.mlp_width, bias=False)
        self.down_proj = nn.Linear(config.mlp_width, config.hidden_width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Keeps shape and dtype."""
        gate = nn.functional.gelu(self.gate_proj(hidden), approximate="tanh")
        return self.down_proj(gate * self.up_proj(hidden))  # type: ignore[no-any-return]


class ScaledEmbedding(nn.Module):
    """Token embedding times sqrt(D), shared by encoder, decoder and output head.

    The end-of-image token has an embedding of its own that is not scaled. The scale is rounded
    to the model's dtype before it is applied, as the reference does (bfloat16: 25.25 at D=640).
    """

    def __init__(self, vocab_size: int, width: int, eoi_token_id: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, width))
        self.eoi_embedding = nn.Parameter(torch.zeros(width))
        self.eoi_token_id = eoi_token_id
        self.scale = width**0.5

    def forward(self, token_ids: Tensor) -> Tensor:
        """[B, T] integer -> [B, T, D]."""
        # Filled on the device: a copy to it could not be part of a captured CUDA graph.
        scale = torch.full((), self.scale, dtype=self.weight.dtype, device=self.weight.device)
        embedded = nn.functional.embedding(token_ids, self.weight) * scale
        is_eoi = (token_ids == self.eoi_token_id).unsqueeze(-1)
        return torch.where(is_eoi, self.eoi_embedding, embedded)


def rotary_tables(
    config: RotaryConfig,
    num_positions: int,
    head_width: int,
    *,
    like: Tensor,
    first_position: int = 0,
) -> tuple[Tensor, Tensor]:
    """Returns cos and sin [T, K] of T positions, in the dtype and on the device of `like`.

    Angles are computed in float32; only cos and sin are rounded to the model's dtype.
    """
    exponents = torch.arange(0, head_width, 2, dtype=torch.float, device=like.device) / head_width
    frequencies = 1.0 / (config.theta**exponents)
    frequencies = frequencies / config.linear_factor
    positions = torch.arange(
        first_position, first_position + num_positions, dtype=torch.float, device=like.device
    )
    angles = torch.outer(positions, frequencies)  # [T, K / 2]
    angles = torch.cat((angles, angles), dim=-1)  # [T, K / 2] -> [T, K]
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Applies rotary positions to heads [B, H, T, K] with tables [T, K] or [B, 1, T, K]."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat((-second, first), dim=-1) * sin
