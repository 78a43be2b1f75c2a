"""Attention within each passage of a packed batch, in blocks of queries.

Two ways to the same result. `BlockedAttention`, for CPUs, walks over the passages: nothing is
padded, and the scores of a block stay in the processor's cache. `PaddedAttention`, for
accelerators, hands padded passages to one kernel call. In both, cost and memory of a sliding layer
grow linearly with the length, and no mask is quadratic in it.

Shape letters: P passages, S tokens of the longest one, N tokens of all, H query heads, G key/value
heads, R = H / G, K head width, W window, T queries of a block, L keys of a block.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kalm_reranker.model.attention import additive
from kalm_reranker.model.packed_rows import PackedRows
from kalm_reranker.model.sliding_window import blocks, encoder_window, reach, sees_everything
from kalm_reranker.model.softmax_attention import softmax_attention

# Blocks of `BlockedAttention`, measured on a processor with AVX-512 BF16: queries times R in a
# sliding layer; scores in a global layer, and the fewest queries times R there.
_SLIDING_ROWS = 256
_GLOBAL_SCORES = 2**20
_FEWEST_GLOBAL_ROWS = 256
# Up to this many windows an accelerator computes all scores of a passage and masks most of them.
_DENSE_WINDOWS = 2


class PassageAttention(ABC):
    """Softmax attention of every token to the tokens of its own passage, one layer type's.

    Made for one batch and used in all layers of its type.

    Args:
        rows: The batch.
        window: W of a sliding layer; None for a global one.
        scale: Factor on q.k before the softmax.
    """

    def __init__(self, rows: PackedRows, window: int | None, scale: float) -> None:
        self.rows = rows
        self.is_global = window is None
        self.window = None if sees_everything(rows.longest, window) else window
        self.scale = scale

    @abstractmethod
    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Mixes values.

        Args:
            queries: [1, H, N, K].
            keys: [1, G, N, K].
            values: [1, G, N, K].

        Returns:
            [1, N, H * K], heads side by side as the output projection takes them.
        """


def passage_attention(
    rows: PackedRows, window: int | None, scale: float, device: torch.device
) -> PassageAttention:
    """Returns the attention that is fast on a device."""
    made = BlockedAttention if device.type == "cpu" else PaddedAttention
    return made(rows, window, scale)


class _RowBlock(NamedTuple):
    queries: slice  # of the batch's N * R rows
    keys: slice  # of its N rows
    mask: Tensor | None  # additive, [T * R, L]


class BlockedAttention(PassageAttention):
    """Matrix products over blocks of queries, the query heads of a key head side by side as rows.

    On CPUs this takes half the time of PyTorch's own kernel in bfloat16, and as long as it in
    float32. Scores are rounded to the dtype before the softmax, as the reference's plain attention
    does; the softmax itself computes in float32.
    """

    def __init__(self, rows: PackedRows, window: int | None, scale: float) -> None:
        super().__init__(rows, window, scale)
        self._plan: list[_RowBlock] | None = None

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See `PassageAttention`."""
        _, heads, num_rows, width = queries.shape
        groups = keys.shape[1]
        repeats = heads // groups
        if self._plan is None:
            self._plan = list(self._blocks(repeats, queries))
        # [1, H, N, K] -> [G, N * R, K]; a view with one key head, as projections lie in memory
        by_group = queries.view(groups, repeats, num_rows, width).transpose(1, 2).flatten(1, 2)
        mixed = [
            torch.cat([self._mix(*group, block) for block in self._plan])  # [N * R, K]
            for group in zip(by_group, keys[0], values[0], strict=True)
        ]
        side_by_side = torch.cat([rows.view(num_rows, repeats * width) for rows in mixed], dim=1)
        return side_by_side.unsqueeze(0)

    def _mix(self, queries: Tensor, keys: Tensor, values: Tensor, block: _RowBlock) -> Tensor:
        """Returns a block's mixed values [T * R, K] from rows [N * R, K], [N, K] and [N, K]."""
        rows, columns = queries[block.queries], keys[block.keys].T
        # The product scales and adds the mask before it rounds: neither takes a pass of its own.
        if block.mask is None:
            scores = torch.addmm(rows.new_empty(1, 1), rows, columns, beta=0, alpha=self.scale)
        else:
            scores = torch.addmm(block.mask, rows, columns, alpha=self.scale)
        return scores.softmax(-1) @ values[block.keys]

    def _blocks(self, repeats: int, like: Tensor) -> Iterator[_RowBlock]:
        size = max(1, _SLIDING_ROWS // repeats)
        mask = None if self.window is None else _block_mask(size, self.window, repeats, like)
        start = 0  # the passage's first row
        for length in self.rows.lengths:
            window = None if sees_everything(length, self.window) else self.window
            if window is None:
                size_here = max(_FEWEST_GLOBAL_ROWS, _GLOBAL_SCORES // max(1, length)) // repeats
            else:
                size_here = size
            for block in blocks(length, max(1, size_here), window):
                queries = slice(
                    (start + block.query) * repeats, (start + block.end_query) * repeats
                )
                keys = slice(start + block.key, start + block.end_key)
                if mask is None or window is None:
                    yield _RowBlock(queries, keys, None)
                else:
                    first = block.key - (block.query - reach(window)[0])  # columns before it: none
                    columns = slice(first, first + block.end_key - block.key)
                    yield _RowBlock(queries, keys, mask[: queries.stop - queries.start, columns])
            start += length


def _block_mask(size: int, window: int, repeats: int, like: Tensor) -> Tensor:
    """Returns the additive mask [size * R, size + W - 1] of a block that no end of a passage cuts.

    Its first column is the first key that its first query sees. All blocks take parts of it.
    """
    back, forward = reach(window)
    queries = torch.arange(size, device=like.device)
    keys = torch.arange(-back, size + forward, device=like.device)
    seen = encoder_window(queries, keys, window)
    return additive(seen.repeat_interleave(repeats, dim=0), like.dtype)


class PaddedAttention(PassageAttention):
    """One kernel call on padded passages, or on blocks of W queries where they are long."""

    def __init__(self, rows: PackedRows, window: int | None, scale: float) -> None:
        super().__init__(rows, window, scale)
        self._in_blocks = self.window is not None and rows.longest > _DENSE_WINDOWS * self.window
        self._mask: Tensor | None = None

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See `PassageAttention`."""
        if self._mask is None:
            self._mask = self._additive_mask(queries)
        queries, keys, values = (self._padded(heads) for heads in (queries, keys, values))
        if self.window is not None and self._in_blocks:
            mixed = self._mix_in_blocks(queries, keys, values, self.window)
        else:
            mixed = softmax_attention(queries, keys, values, self._mask, self.scale)
        return self.rows.pack(mixed.transpose(1, 2).flatten(2)).unsqueeze(0)  # [P, H, S, K] -> ..

    def _padded(self, heads: Tensor) -> Tensor:
        """[1, H, N, K] -> [P, H, S, K]."""
        return self.rows.unpack(heads[0].transpose(0, 1)).transpose(1, 2)

    def _mix_in_blocks(self, queries: Tensor, keys: Tensor, values: Tensor, window: int) -> Tensor:
        """[P, H, S, K], with blocks of W queries and 2 * W keys as rows of the kernel's batch."""
        back, _ = reach(window)
        passages, heads, num_tokens, width = queries.shape
        num_blocks = -(-num_tokens // window)
        missing = num_blocks * window - num_tokens
        cut = nn.functional.pad(queries, (0, 0, 0, missing))
        cut = cut.view(passages, heads, num_blocks, window, width)
        mixed = softmax_attention(
            cut.transpose(1, 2).flatten(0, 1),  # [P * S / W, H, W, K]
            _key_blocks(keys, back, num_blocks, window),
            _key_blocks(values, back, num_blocks, window),
            self._mask,
            self.scale,
        )
        whole = mixed.view(passages, num_blocks, heads, window, width).transpose(1, 2)
        return whole.flatten(2, 3)[:, :, :num_tokens]

    def _additive_mask(self, like: Tensor) -> Tensor | None:
        """Returns [P, 1, 1 or S, S], or [P * S / W, 1, W, 2 * W] in blocks; None for no mask.

        P is 1 where all passages are equally long, but not in blocks.
        """
        rows, window = self.rows, self.window
        if window is None and rows.is_full:
            return None  # without one, the kernel takes its fastest path
        device = like.device
        lengths = torch.tensor(rows.lengths[:1] if rows.is_full else rows.lengths, device=device)
        lengths = lengths[:, None, None, None]  # [P, 1, 1, 1]
        keys = torch.arange(rows.longest, device=device)
        if window is None:
            return additive(keys < lengths, like.dtype)
        queries = keys.unsqueeze(0)  # [1, S]
        if self._in_blocks:
            starts = torch.arange(0, rows.longest, window, device=device).unsqueeze(1)
            queries = starts + torch.arange(window, device=device)  # [S / W, W]
            keys = starts - reach(window)[0] + torch.arange(2 * window, device=device)
        else:
            keys = queries
        real = (keys.unsqueeze(-2) >= 0) & (keys.unsqueeze(-2) < lengths)  # [P, S / W, 1, L]
        seen = encoder_window(queries, keys, window) & real
        # A padding position beyond the window of every token would see no key at all and turn
        # into NaN, which then spreads through its value; let each position see itself.
        seen = seen | (queries.unsqueeze(-1) == keys.unsqueeze(-2))  # [P, S / W, T, L]
        mask = additive(seen, like.dtype)
        if self._in_blocks:
            return mask.expand(rows.num_passages, -1, -1, -1).flatten(0, 1).unsqueeze(1)
        return mask


def _key_blocks(heads: Tensor, back: int, num_blocks: int, window: int) -> Tensor:
    """[P, G, S, K] -> [P * S / W, G, 2 * W, K]: of each block, the keys any of its queries sees."""
    missing = (num_blocks + 1) * window - back - heads.shape[2]
    padded = nn.functional.pad(heads, (0, 0, back, missing))
    return padded.unfold(2, 2 * window, window).permute(0, 2, 1, 4, 3).flatten(0, 1)
