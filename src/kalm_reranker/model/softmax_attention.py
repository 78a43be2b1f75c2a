"""Softmax attention over any number of keys, by whichever kernels are fast on the device.

Shape letters: B batch, T queries, S keys, H query heads, G key/value heads, K head width.
"""

import torch
from torch import Tensor, nn

# Scores of one product on a CPU, in bytes; above it the blocked kernel of PyTorch, which never
# holds all of them, is the better choice.
_MOST_SCORE_BYTES = 64 * 2**20


def softmax_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float
) -> Tensor:
    """Returns softmax(scale * queries @ keys + mask) @ values.

    Args:
        queries: [B, H, T, K].
        keys: [B, G, S, K]; each serves H / G query heads.
        values: [B, G, S, K].
        mask: Additive, broadcastable to [B, 1, T, S]; None attends everywhere.
        scale: Factor on the products.

    Returns:
        [B, H, T, K].
    """
    batch, heads, tokens, _ = queries.shape
    score_bytes = batch * heads * tokens * keys.shape[2] * queries.element_size()
    if queries.device.type == "cpu" and score_bytes <= _MOST_SCORE_BYTES:
        return _by_products(queries, keys, values, mask, scale)
    # Heads are repeated here and not by the kernel's own option, which some of PyTorch's CUDA
    # kernels refuse together with a mask.
    return nn.functional.scaled_dot_product_attention(
        queries,
        _for_each_query_head(keys, heads),
        _for_each_query_head(values, heads),
        attn_mask=mask,
        scale=scale,
    )


def most_as_alone(heads: int, tokens: int, keys: int, dtype: torch.dtype) -> int:
    """Returns how many items of a shape a CPU computes together by the kernel that one alone takes.

    With more of them their scores are too large for products. Kernels differ in rounding.
    """
    return max(1, _MOST_SCORE_BYTES // (heads * tokens * keys * dtype.itemsize))


def _by_products(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float
) -> Tensor:
    """Two batched matrix products; the query heads of a key head are rows of one matrix.

    On a CPU with bfloat16 instructions this takes less than half of the time of PyTorch's own
    kernel. Scores are rounded to the model's dtype, as in the reference's eager attention.
    """
    batch, heads, tokens, width = queries.shape
    groups, num_keys = keys.shape[1:3]
    repeats = heads // groups
    rows = queries.reshape(batch * groups, repeats * tokens, width)
    keys = keys.reshape(batch * groups, num_keys, width)
    values = values.reshape(batch * groups, num_keys, width)
    unused = rows.new_empty(())  # beta=0 leaves it out
    scores = torch.baddbmm(unused, rows, keys.transpose(1, 2), beta=0, alpha=scale)
    if mask is not None:  # [.., 1, T, S] -> [.., 1, 1, T, S], for every group and its heads
        by_head = scores.view(batch, groups, repeats, tokens, num_keys)
        by_head += mask.unsqueeze(-3)
    mixed = torch.bmm(torch.softmax(scores, dim=-1), values)
    return mixed.view(batch, heads, tokens, width)


def _for_each_query_head(heads: Tensor, num_query_heads: int) -> Tensor:
    """[B, G, S, K] -> [B, H, S, K]; a view where there is a single head."""
    repeats = num_query_heads // heads.shape[1]
    return heads.unsqueeze(2).expand(-1, -1, repeats, -1, -1).flatten(1, 2)
