"""Memory for keys and values of passages, cut into blocks: no fragments, whatever their lengths.

Shape letters: L decoder layers, R rows of a block, B pairs, S context keys, G key/value heads,
K head width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kalm_reranker.errors import OutOfMemoryError
from kalm_reranker.model.attention import Attention
from kalm_reranker.model.config import StackConfig

ROWS = 16  # R: the padding of a passage's last block is paid in attention only


class KeyValueArena:
    """Blocks of rows; a row holds the keys and values of one position, of all decoder layers.

    The memory is reserved at once. On Linux a CPU's memory is only taken as blocks are written.

    Args:
        config: Of the decoder.
        num_bytes: Most bytes of blocks to reserve; two blocks for padding come on top.
        device: Where.
        dtype: Of keys and values.

    Raises:
        OutOfMemoryError: There is not as much memory.
    """

    def __init__(
        self, config: StackConfig, num_bytes: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        heads, width = config.num_key_value_heads, config.head_width
        self.row_bytes = 2 * config.num_layers * heads * width * dtype.itemsize
        self.num_blocks = num_bytes // (self.row_bytes * ROWS)
        # Two blocks more: padding is written to the first and read from the last, which stays zero.
        # In one block, NaN of damaged states would reach every passage that is read with padding.
        self._discarded, self._zeros = self.num_blocks, self.num_blocks + 1
        shape = (config.num_layers, 2, self.num_blocks + 2, ROWS, heads, width)
        try:
            self._data = torch.empty(shape, device=device, dtype=dtype)
        except (MemoryError, RuntimeError) as error:  # RuntimeError: also a size beyond 64 bits
            raise OutOfMemoryError(
                f"The prefix cache cannot reserve {num_bytes:,} bytes on {str(device)!r}: "
                f"{str(error).partition(chr(10))[0]}",
                hint="Give a smaller prefix_cache_bytes; 0 keeps nothing.",
            ) from error
        self.clear(self._zeros)

    @property
    def device(self) -> torch.device:
        """Where the blocks are."""
        return self._data.device

    def clear(self, block: int) -> None:
        """Makes a block zero: what was in memory may be NaN, which no mask keeps out."""
        self._data[:, :, block] = 0

    def write(self, layer: int, rows: Tensor, keys: Tensor, values: Tensor) -> None:
        """Writes keys and values [N, G, K] of one layer to rows [N]."""
        for part, content in enumerate((keys, values)):
            flat = self._data[layer, part].flatten(0, 1)  # [blocks * R, G, K], a view
            flat.index_copy_(0, rows, content)

    def rows_of(self, blocks: Sequence[int], num_rows: int, padded_to: int) -> Tensor:
        """Returns the rows [padded_to] of a passage's positions; padding has a block of its own."""
        places = torch.arange(num_rows)
        table = torch.tensor(blocks)
        rows = torch.full((padded_to,), self._discarded * ROWS)
        rows[:num_rows] = table[places // ROWS] * ROWS + places % ROWS
        return rows

    def context(
        self, passages: Sequence[Sequence[int]], num_rows: Sequence[int], num_prompt_tokens: int
    ) -> "CachedContext":
        """Returns the context of pairs.

        Args:
            passages: The blocks of each pair's passage.
            num_rows: How many rows of these are written: prompt tokens, then slots.
            num_prompt_tokens: Prompt tokens among them.
        """
        longest = max(map(len, passages))
        table = torch.full((len(passages), longest), self._zeros)
        for row, blocks in zip(table.unbind(), passages, strict=True):
            row[: len(blocks)] = torch.tensor(blocks)
        num_keys = longest * ROWS
        counts = torch.tensor(num_rows)
        mask = None
        if bool((counts < num_keys).any()):
            mask = (torch.arange(num_keys) < counts.unsqueeze(1)).to(self.device)
        return CachedContext(self._data, table.to(self.device), mask, num_prompt_tokens)


@dataclass(frozen=True)
class CachedContext:
    """Keys and values of prefix and passage, from an arena.

    Attributes:
        data: [L, 2, blocks, R, G, K].
        blocks: [B, S / R] integer, the blocks of each pair.
        mask: [B, S] boolean, True at rows that were written; None where all were.
        num_prompt_tokens: Prompt tokens at the front.
    """

    data: Tensor
    blocks: Tensor
    mask: Tensor | None
    num_prompt_tokens: int

    @property
    def num_keys(self) -> int:
        """S."""
        return self.blocks.shape[1] * ROWS

    def keys_values(self, layer: int, attention: Attention) -> tuple[Tensor, Tensor]:
        """Gathers the blocks: [B, G, S, K]."""
        gathered = self.data[layer].index_select(1, self.blocks.flatten())  # [2, B * n, R, G, K]
        heads = gathered.shape[-2:]
        keys, values = gathered.view(2, len(self.blocks), self.num_keys, *heads).transpose(2, 3)
        return keys, values
