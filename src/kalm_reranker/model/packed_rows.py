"""Passages of a batch as rows one after another, so that padding is never computed.

Norms, projections and MLPs read a token at a time and take such rows as they are; only attention
needs to know which rows belong together. In a batch of 100 abstracts padding would be a tenth to a
quarter of all rows (benchmarks/encoder.py).

Shape letters: P passages, S tokens of the longest one, N tokens of all of them.
"""

import torch
from torch import Tensor


class PackedRows:
    """Where the tokens of each passage lie among the rows of a batch.

    Args:
        mask: [P, S] boolean, True at tokens; each row is a run of True, then of False.
    """

    def __init__(self, mask: Tensor) -> None:
        self.num_passages, self.longest = mask.shape
        self.lengths: list[int] = mask.sum(1).tolist()
        self.num_rows = sum(self.lengths)
        self.is_full = self.num_rows == mask.numel()  # no padding: packing is a change of shape
        self._places = None if self.is_full else mask.flatten().nonzero().squeeze(1)  # [N]

    def positions(self, device: torch.device) -> Tensor:
        """Returns [N] integer: the position of each row in its passage."""
        return torch.cat([torch.arange(length, device=device) for length in self.lengths])

    def pack(self, padded: Tensor) -> Tensor:
        """[P, S, ..] -> [N, ..]; a view where there is no padding."""
        rows = padded.flatten(0, 1)
        return rows if self._places is None else rows[self._places]

    def unpack(self, rows: Tensor) -> Tensor:
        """[N, ..] -> [P, S, ..], zero at padding; a view where there is none."""
        shape = (self.num_passages, self.longest, *rows.shape[1:])
        if self._places is None:
            return rows.reshape(shape)
        padded = rows.new_zeros(self.num_passages * self.longest, *rows.shape[1:])
        return padded.index_copy(0, self._places, rows).view(shape)
