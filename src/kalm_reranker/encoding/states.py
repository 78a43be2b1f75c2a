"""Passage states: what is kept of passages so that queries can be scored without their text.

Shape letters: P passages, C slots of a passage, D hidden width.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from kalm_reranker.encoding.provenance import Provenance
from kalm_reranker.encoding.windows import check_window_ratio, window_token_counts
from kalm_reranker.errors import InputError, StatesMismatchError
from kalm_reranker.model.pooling import check_ratio, num_slots, repool_slots
from kalm_reranker.options import whole_number


class PassageStates:
    """Pooled encoder states of a list of passages, packed without padding.

    Args:
        slots: [sum of C, D] states of all passages, one after another, floating dtype.
        token_counts: Tokens of each passage before pooling, those of all its windows; passage i
            has ceil(token_counts[i] / compression_ratio) slots.
        truncated: Whether each passage was cut at the length limit.
        compression_ratio: Tokens per slot, 1 for none.
        provenance: Where the states come from.
        identities: A value per passage that no other states have, by which an engine finds again
            what it keeps of a passage; None where nothing is to be kept, for a passage or for all.
            The slots of states that have identities must not be written to: what is kept would not
            change with them.

    Raises:
        InputError: The numbers of slots, tokens and passages do not fit together.
        InvalidRatioError: The passages were read in windows that the ratio does not divide.
    """

    def __init__(
        self,
        slots: Tensor,
        token_counts: Sequence[int],
        truncated: Sequence[bool],
        compression_ratio: int,
        provenance: Provenance,
        identities: Sequence[Hashable] | None = None,
    ) -> None:
        if not isinstance(slots, Tensor) or not isinstance(provenance, Provenance):
            raise InputError(
                "PassageStates needs a tensor and a Provenance; got "
                f"{type(slots).__name__} and {type(provenance).__name__}."
            )
        self.slots = slots
        self.token_counts = tuple(token_counts)
        self.truncated = tuple(truncated)
        self.compression_ratio = check_ratio(compression_ratio)
        self.provenance = provenance
        if provenance.window is not None:
            check_window_ratio(self.compression_ratio, provenance.window)
        self.identities = None if identities is None else tuple(identities)
        if not slots.is_floating_point():
            raise InputError(f"slots must have a floating dtype; got {slots.dtype}.")
        if self.token_counts and min(self.token_counts) < 1:
            raise InputError(f"every passage has at least one token; got {self.token_counts}.")
        self.slot_counts = tuple(num_slots(n, self.compression_ratio) for n in self.token_counts)
        self._offsets = list(accumulate(self.slot_counts, initial=0))
        if slots.ndim != 2 or slots.shape[0] != self._offsets[-1]:
            raise InputError(
                f"slots must have shape [{self._offsets[-1]}, D] for these token counts at ratio "
                f"{self.compression_ratio}; got {list(slots.shape)}."
            )
        for name, entries in (("truncated", self.truncated), ("identities", self.identities)):
            if entries is not None and len(entries) != len(self.token_counts):
                raise InputError(
                    f"{name} must have one entry per passage ({len(self.token_counts)}); "
                    f"got {len(entries)}."
                )

    def __len__(self) -> int:
        return len(self.token_counts)

    def __iter__(self) -> Iterator["PassageStates"]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, key: int | slice | Sequence[int]) -> "PassageStates":
        """Returns the states of one passage, a slice, or a list of passages, as PassageStates.

        Raises:
            IndexError: There is no such passage.
            InputError: The key is none of these; boolean masks are not taken.
        """
        if isinstance(key, slice):
            indices: Sequence[int] = range(len(self))[key]
        else:
            is_list = isinstance(key, Iterable) and whole_number(key) is None
            wanted: Iterable[object] = key if is_list and not isinstance(key, str) else [key]  # type: ignore[assignment]
            indices = [range(len(self))[_position(index)] for index in wanted]
        return PassageStates(
            # A copy: a part must not keep the states of all passages in memory.
            self.slots_of_all(indices).clone(),
            [self.token_counts[index] for index in indices],
            [self.truncated[index] for index in indices],
            self.compression_ratio,
            self.provenance,
            None if self.identities is None else [self.identities[index] for index in indices],
        )

    def __repr__(self) -> str:
        return (
            f"PassageStates({len(self)} passages, {self.slots.shape[0]} slots of width "
            f"{self.slots.shape[1]}, compression_ratio={self.compression_ratio}, "
            f"dtype={str(self.slots.dtype).removeprefix('torch.')}, {self.num_bytes:,} bytes)"
        )

    @property
    def num_bytes(self) -> int:
        """Bytes that the slots take."""
        return self.slots.numel() * self.slots.element_size()

    def slots_of(self, index: int) -> Tensor:
        """Returns the slots [C, D] of passage `index`, a view; negative ones count from the end."""
        index = range(len(self))[index]
        return self.slots[self._offsets[index] : self._offsets[index + 1]]

    def slots_of_all(self, indices: Sequence[int]) -> Tensor:
        """Returns the slots [sum of C, D] of the named passages; a view where they are a run."""
        is_run = all(after == before + 1 for before, after in pairwise(indices))
        if indices and is_run and indices[0] >= 0:
            return self.slots[self._offsets[indices[0]] : self._offsets[indices[-1] + 1]]
        parts = [self.slots_of(index) for index in indices]
        return torch.cat(parts) if parts else self.slots[:0]

    def padded(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Returns slots [P, C, D] of the named passages, right-padded with zeros, and mask [P, C].

        A passage may be named more than once.
        """
        indices = [range(len(self))[index] for index in indices]
        counts = [self.slot_counts[index] for index in indices]
        width = max(counts, default=0)
        slots = self.slots.new_empty(len(indices), width, self.slots.shape[1])
        for row, index, count in zip(slots.unbind(), indices, counts, strict=True):
            row[:count] = self.slots_of(index)
            row[count:] = 0
        mask = torch.arange(width) < torch.tensor(counts).unsqueeze(1)  # [P, C]
        return slots, mask.to(self.slots.device)

    def windows(self) -> "WindowStates | None":
        """Returns the windows of all passages as passages of their own; None if each has one.

        They share the slots of these states: nothing is copied.
        """
        window = self.provenance.window
        if window is None or max(self.token_counts, default=0) <= window:
            return None
        counts = [window_token_counts(count, window) for count in self.token_counts]
        owners = [index for index, parts in enumerate(counts) for _ in parts]
        identities: list[Hashable] | None = None
        if self.identities is not None:
            # A passage of one window is the same thing in any company.
            identities = [
                identity if identity is None or len(parts) == 1 else (identity, f"window {number}")
                for identity, parts in zip(self.identities, counts, strict=True)
                for number in range(len(parts))
            ]
        states = PassageStates(
            self.slots,
            [count for parts in counts for count in parts],
            [self.truncated[owner] for owner in owners],
            self.compression_ratio,
            self.provenance,
            identities,
        )
        return WindowStates(states, owners)

    def repool(self, compression_ratio: int | None) -> "PassageStates":
        """Returns states at a coarser ratio, as if the passages had been encoded at it.

        Args:
            compression_ratio: A multiple of the ratio of these states.

        Raises:
            InvalidRatioError: It is not.
        """
        ratio = check_ratio(compression_ratio)
        if ratio == self.compression_ratio:
            return self
        slots = repool_slots(self.slots, self.token_counts, self.compression_ratio, ratio)
        return PassageStates(
            slots,
            self.token_counts,
            self.truncated,
            ratio,
            self.provenance,
            self._derived_identities(f"r={ratio}"),
        )

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "PassageStates":
        """Returns the states on another device or in another floating dtype.

        Raises:
            InputError: The dtype is not a floating one.
        """
        slots = self.slots.to(device=device or self.slots.device, dtype=dtype or self.slots.dtype)
        same = slots.dtype == self.slots.dtype
        return PassageStates(
            slots,
            self.token_counts,
            self.truncated,
            self.compression_ratio,
            self.provenance,
            self.identities if same else self._derived_identities(str(slots.dtype)),
        )

    def _derived_identities(self, change: str) -> list[Hashable] | None:
        """Identities of states that are made from these by a change that has a name."""
        if self.identities is None:
            return None
        return [None if identity is None else (identity, change) for identity in self.identities]

    @classmethod
    def concatenate(cls, parts: Iterable["PassageStates"]) -> "PassageStates":
        """Joins states of the same origin and ratio, in order.

        Raises:
            InputError: There are no parts, or they differ in ratio.
            StatesMismatchError: They come from different models, templates or lengths.
        """
        states = list(parts)
        if not states:
            raise InputError("concatenate needs at least one PassageStates; got none.")
        first = states[0]
        for other in states[1:]:
            if other.provenance != first.provenance:
                raise StatesMismatchError(
                    f"States of different origin cannot be joined: {first.provenance} and "
                    f"{other.provenance}."
                )
            if other.compression_ratio != first.compression_ratio:
                raise InputError(
                    "States of different compression ratios cannot be joined: "
                    f"{first.compression_ratio} and {other.compression_ratio}.",
                    hint="Repool the finer ones first.",
                )
        return cls(
            torch.cat([part.slots for part in states]),
            [count for part in states for count in part.token_counts],
            [cut for part in states for cut in part.truncated],
            first.compression_ratio,
            first.provenance,
            _joined(states),
        )


class WindowStates(NamedTuple):
    """Windows as passages of their own, and which passage each of them belongs to."""

    states: PassageStates
    owners: list[int]


def _joined(parts: Sequence[PassageStates]) -> list[Hashable] | None:
    if all(part.identities is None for part in parts):
        return None
    return [name for part in parts for name in part.identities or [None] * len(part)]


def _position(index: object) -> int:
    # A boolean is a mask's, not a position.
    position = whole_number(index)
    if position is None:
        raise InputError(f"a passage is named by its position, a whole number; got {index!r}.")
    return position
