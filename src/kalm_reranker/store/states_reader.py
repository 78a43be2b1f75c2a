"""Stored states as `PassageStates`, at any multiple of the base ratio, through the hot tier."""

import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.encoding.windows import num_windows
from kalm_reranker.errors import InvalidRatioError
from kalm_reranker.model.pooling import check_ratio, num_slots
from kalm_reranker.store.codecs import codec_named
from kalm_reranker.store.hot_tier import HotTier
from kalm_reranker.store.protocol import PassageStore, StatesRead
from kalm_reranker.store.records import Damage, StoredStates

# More changes than this since the last look, and the hot tier starts afresh.
_MOST_CHANGES = 10_000

_STORED = "stored"  # kind of hot items: states as bytes, at the base ratio


@dataclass(frozen=True, slots=True)
class ReadStates:
    """States of those passages that could be read.

    Attributes:
        keys: Their keys, in the order asked for.
        states: Their states; `states[i]` belongs to `keys[i]`.
        missing: Keys without a passage.
        damaged: Passages whose states are not what was written.
        num_hot: How many came from the hot tier.
        num_bytes: Bytes read from the store.
    """

    keys: tuple[int, ...]
    states: PassageStates
    missing: tuple[int, ...]
    damaged: tuple[Damage, ...]
    num_hot: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class _Pooled:
    slots: Tensor  # [C, D]
    token_count: int
    truncated: bool
    version: bytes


class StatesReader:
    """Reads states of a store in the dtype of a model. Safe to use from several threads.

    Args:
        store: Where they are.
        hot_tier: What was read lately; the reader keeps it true to the store.
        dtype: Dtype of the states it returns.
    """

    def __init__(self, store: PassageStore, hot_tier: HotTier, dtype: torch.dtype) -> None:
        self._store = store
        self._hot = hot_tier
        self._dtype = dtype
        self._codec = codec_named(store.header.codec)
        self._is_lossless = dtype == torch.bfloat16 and store.header.codec == "bf16"
        # A record's version does not say how its bytes are read.
        self._reading = (store.header.codec, store.header.compression_ratio, str(dtype))
        self._lock = threading.Lock()
        self._seen_change = store.last_change()  # the hot tier knows of all changes up to this

    def blocks(
        self, keys: Sequence[int], num_bytes: int, compression_ratio: int
    ) -> Iterator[Sequence[int]]:
        """Yields keys of passages whose states fit into so many bytes together, in order.

        A passage that does not fit on its own is a block of its own.
        """
        header = self._store.header
        longest = header.provenance.max_length
        window_bytes = (
            header.width
            * self._dtype.itemsize
            * (num_slots(longest, header.compression_ratio) + num_slots(longest, compression_ratio))
        )
        most = max(1, num_bytes // window_bytes)  # windows, or passages, as if all were full
        counts = [1] * len(keys)
        if header.provenance.window is not None:
            counts = [num_windows(count, longest) for count in self._store.token_counts(keys)]
        start = windows = 0
        for position, count in enumerate(counts):
            if position > start and windows + count > most:
                yield keys[start:position]
                start, windows = position, 0
            windows += count
        if start < len(keys):
            yield keys[start:]

    def read(self, keys: Sequence[int], compression_ratio: int | None = None) -> ReadStates:
        """Returns the states of passages.

        Args:
            keys: Keys of distinct passages.
            compression_ratio: A multiple of the store's base ratio; the base ratio, if not given.

        Raises:
            InvalidRatioError: The ratio is no multiple of the base ratio.
            DamagedStoreError: The file's structure is broken.
        """
        base = self._store.header.compression_ratio
        ratio = base if compression_ratio is None else check_ratio(compression_ratio)
        if ratio % base:
            raise InvalidRatioError(
                f"compression_ratio must be a multiple of {base}, the ratio the index was made "
                f"with; got {ratio}.",
                hint="Make another index at a finer ratio for it.",
            )
        seen = self._forget_changed()
        if ratio == base:
            return self._read_base(keys, seen)
        return self._read_pooled(keys, ratio, seen)

    def _read_base(self, keys: Sequence[int], seen: int) -> ReadStates:
        hot: dict[int, StoredStates] = self._hot.get_many(_STORED, keys)
        read = self._read_cold([key for key in keys if key not in hot], seen)
        records = {**hot, **read.found}
        found = [key for key in keys if key in records]
        states = self._decoded([records[key] for key in found], self._dtype)
        return _result(found, states, read, num_hot=len(hot))

    def _read_pooled(self, keys: Sequence[int], ratio: int, seen: int) -> ReadStates:
        hot: dict[int, _Pooled] = self._hot.get_many(ratio, keys)
        missed = [key for key in keys if key not in hot]
        stored: dict[int, StoredStates] = self._hot.get_many(_STORED, missed)
        read = self._read_cold([key for key in missed if key not in stored], seen)
        records = {**stored, **read.found}
        fresh = self._pooled(records, ratio)
        sizes = {key: item.slots.numel() * item.slots.element_size() for key, item in fresh.items()}
        self._keep(ratio, fresh, sizes, seen)
        items = {**hot, **fresh}
        found = [key for key in keys if key in items]
        chosen = [items[key] for key in found]
        width = self._store.header.width
        states = PassageStates(
            torch.cat([item.slots for item in chosen] or [torch.empty(0, width)]).to(self._dtype),
            [item.token_count for item in chosen],
            [item.truncated for item in chosen],
            ratio,
            self._store.header.provenance,
            self._identities(chosen),
        )
        return _result(found, states, read, num_hot=len(hot) + len(stored))

    def _read_cold(self, keys: Sequence[int], seen: int) -> StatesRead:
        if not keys:
            return StatesRead({}, (), ())
        read = self._store.read_states(keys)
        sizes = {key: record.num_bytes for key, record in read.found.items()}
        self._keep(_STORED, read.found, sizes, seen)
        return read

    def _keep(
        self, kind: Hashable, items: Mapping[int, object], sizes: Mapping[int, int], seen: int
    ) -> None:
        """Puts items into the hot tier, unless changes were noticed since they were read.

        What was read before a change must not be put there after it was dropped for that change.
        """
        with self._lock:
            if self._seen_change == seen:
                for key, item in items.items():
                    self._hot.put(kind, key, item, sizes[key])

    def _pooled(self, records: dict[int, StoredStates], ratio: int) -> dict[int, _Pooled]:
        # From float32, so that lossy codecs are rounded once, after the mean; states that are
        # bfloat16 on both sides have their mean taken in float32 anyway.
        exact = self._dtype if self._is_lossless else torch.float32
        states = self._decoded(list(records.values()), exact).repool(ratio)
        return {
            key: _Pooled(
                # A copy: a view would keep the states of all passages of this read in memory.
                states.slots_of(index).to(self._dtype, copy=True),
                record.token_count,
                record.truncated,
                record.version,
            )
            for index, (key, record) in enumerate(records.items())
        }

    def _decoded(self, records: Sequence[StoredStates], dtype: torch.dtype) -> PassageStates:
        """Returns the states of records at the base ratio."""
        header = self._store.header
        slot_bytes = self._codec.slot_bytes(header.width)
        counts = [num_slots(record.token_count, header.compression_ratio) for record in records]
        rows = torch.empty(sum(counts), slot_bytes, dtype=torch.uint8)
        flat = rows.view(-1).numpy()
        position = 0
        for record in records:
            end = position + record.num_bytes
            flat[position:end] = np.frombuffer(record.slots, np.uint8)
            position = end
        return PassageStates(
            self._codec.decode(rows, header.width, dtype),
            [record.token_count for record in records],
            [record.truncated for record in records],
            header.compression_ratio,
            header.provenance,
            self._identities(records),
        )

    def _identities(self, records: "Sequence[StoredStates | _Pooled]") -> list[Hashable]:
        """What tells states apart, also those of other stores that the same engine reads."""
        return [(record.version, self._reading) for record in records]

    def _forget_changed(self) -> int:
        """Drops hot items of passages that changed, here or in another process.

        Returns the number of the last change that the hot tier knows of.
        """
        last_change = self._store.last_change()
        with self._lock:
            if last_change > self._seen_change:
                changed = self._store.changed_keys_since(self._seen_change, _MOST_CHANGES)
                if changed is None:
                    self._hot.clear()
                else:
                    self._hot.discard(changed)
                self._seen_change = last_change
            return self._seen_change


def _result(
    found: Sequence[int], states: PassageStates, read: StatesRead, *, num_hot: int
) -> ReadStates:
    return ReadStates(
        keys=tuple(found),
        states=states,
        missing=read.missing,
        damaged=read.damaged,
        num_hot=num_hot,
        num_bytes=sum(record.num_bytes for record in read.found.values()),
    )
