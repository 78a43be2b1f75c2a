"""Attention of T5Gemma2: the encoder's own, and the decoder's merged one.

Shape letters: B batch, T queries, S or C keys, H query heads, G key/value heads, K head width,
D hidden width. Masks are boolean, True means attend.

Source: `T5Gemma2SelfAttention` and `T5Gemma2MergedAttention` of Transformers 5.23.
"""

import torch
from torch import Tensor, nn

from kalm_reranker.model.config import StackConfig
from kalm_reranker.model.layers import RMSNorm, rotate
from kalm_reranker.model.softmax_attention import softmax_attention

RotaryTables = tuple[Tensor, Tensor]  # cos, sin


class Attention(nn.Module):
    """Projections and head norms of one attention layer, the same for encoder and decoder."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.num_query_heads = config.num_query_heads
        self.num_key_value_heads = config.num_key_value_heads
        self.head_width = config.head_width
        self.scale = config.attention_scale
        width, bias = config.hidden_width, config.attention_bias
        self.q_proj = nn.Linear(width, self.num_query_heads * self.head_width, bias=bias)
        self.k_proj = nn.Linear(width, self.num_key_value_heads * self.head_width, bias=bias)
        self.v_proj = nn.Linear(width, self.num_key_value_heads * self.head_width, bias=bias)
        self.o_proj = nn.Linear(self.num_query_heads * self.head_width, width, bias=bias)
        self.q_norm = RMSNorm(self.head_width, config.norm_eps)
        self.k_norm = RMSNorm(self.head_width, config.norm_eps)

    def queries(self, hidden: Tensor, rotary: RotaryTables) -> Tensor:
        """[B, T, D] -> [B, H, T, K], normalised and rotated."""
        heads = self._split(self.q_proj(hidden), self.num_query_heads)
        return rotate(self.q_norm(heads), *rotary)

    def keys_values(self, hidden: Tensor, rotary: RotaryTables | None) -> tuple[Tensor, Tensor]:
        """[B, T, D] -> keys and values [B, G, T, K]; keys normalised, and rotated if `rotary`."""
        keys = self.k_norm(self._split(self.k_proj(hidden), self.num_key_value_heads))
        values = self._split(self.v_proj(hidden), self.num_key_value_heads)
        return (keys if rotary is None else rotate(keys, *rotary)), values

    def passage_keys_values(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of stored states [N, D] -> [N, G, K].

        They carry no positions: pure functions of the state, so they can be kept per passage.
        """
        heads = (len(slots), self.num_key_value_heads, self.head_width)
        return self.k_norm(self.k_proj(slots).view(heads)), self.v_proj(slots).view(heads)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Softmax attention and output projection.

        Args:
            queries: [B, H, T, K].
            keys: [B, G, S, K].
            values: [B, G, S, K].
            mask: What `additive` made, broadcastable to [B, H, T, S]; None attends everywhere.

        Returns:
            [B, T, D].
        """
        mixed = softmax_attention(queries, keys, values, mask, self.scale)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, projected: Tensor, num_heads: int) -> Tensor:
        heads = projected.view(*projected.shape[:-1], num_heads, self.head_width)
        return heads.transpose(1, 2)  # [B, T, H * K] -> [B, H, T, K]


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns a boolean mask as what is added to attention scores: 0 at True, -inf at False.

    The kernels would convert a boolean mask in every layer, which on a CPU costs as much as the
    decoder's attention itself.
    """
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, -torch.inf)


def decoder_window(
    num_tokens: int, window: int | None, device: torch.device, *, before: int = 0
) -> Tensor:
    """Returns [T, before + T]: which prompt tokens each of the last T sees.

    Causal, and in sliding layers only keys at a distance below `window`.
    """
    keys = torch.arange(before + num_tokens, device=device)
    queries = keys[before:].unsqueeze(1)
    causal = keys <= queries
    return causal if window is None else causal & (keys > queries - window)
