"""A cache in memory under a byte budget: what was used last stays.

It holds passage states and whatever else is computed once per passage, each kind on its own.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

# What holding an item takes besides its content: two dictionary entries, key, tuple, the object
# itself. Measured: 600 to 1,000 bytes. Without it, many short passages would overrun the budget.
ITEM_BYTES = 800


@dataclass(frozen=True, slots=True, kw_only=True)
class HotTierStats:
    """What a hot tier holds and what it brought.

    Attributes:
        budget_bytes: Most bytes it may hold.
        used_bytes: Bytes it holds.
        num_items: Items it holds.
        hits: Lookups that found something.
        misses: Lookups that did not.
        evictions: Items dropped to make room.
        invalidations: Items dropped because their passage changed.
    """

    budget_bytes: int
    used_bytes: int
    num_items: int
    hits: int
    misses: int
    evictions: int
    invalidations: int


class HotTier:
    """Keeps items of passages, least recently used dropped first. Safe to use from threads.

    Args:
        budget_bytes: Most bytes to hold; 0 keeps nothing. An item larger than that is never kept.
        item_bytes: Counted for each item besides its content.
    """

    def __init__(self, budget_bytes: int, *, item_bytes: int = ITEM_BYTES) -> None:
        self._budget = budget_bytes
        self._item_bytes = item_bytes
        self._lock = threading.Lock()
        # (kind, key of the passage) -> (item, its bytes), least recently used first.
        self._items: OrderedDict[tuple[Hashable, int], tuple[Any, int]] = OrderedDict()
        self._kinds: dict[int, set[Hashable]] = {}  # key of a passage -> kinds held of it
        self._used = self._hits = self._misses = self._evictions = self._invalidations = 0

    def get_many(self, kind: Hashable, keys: Iterable[int]) -> dict[int, Any]:
        """Returns the items of a kind that are held, by passage key."""
        found: dict[int, Any] = {}
        with self._lock:
            for key in keys:
                entry = self._items.get((kind, key))
                if entry is None:
                    self._misses += 1
                else:
                    self._hits += 1
                    self._items.move_to_end((kind, key))
                    found[key] = entry[0]
        return found

    def put(self, kind: Hashable, key: int, item: Any, num_bytes: int) -> None:  # noqa: ANN401
        """Keeps an item of a passage with content of `num_bytes`; drops others to make room."""
        num_bytes += self._item_bytes
        if num_bytes > self._budget:
            return
        with self._lock:
            self._remove(kind, key)
            self._items[kind, key] = (item, num_bytes)
            self._kinds.setdefault(key, set()).add(kind)
            self._used += num_bytes
            while self._used > self._budget:
                oldest_kind, oldest_key = next(iter(self._items))
                self._remove(oldest_kind, oldest_key)
                self._evictions += 1

    def discard(self, keys: Iterable[int]) -> None:
        """Drops everything held of the named passages."""
        with self._lock:
            for key in keys:
                for kind in tuple(self._kinds.get(key, ())):
                    self._remove(kind, key)
                    self._invalidations += 1

    def clear(self) -> None:
        """Drops everything."""
        with self._lock:
            self._invalidations += len(self._items)
            self._items.clear()
            self._kinds.clear()
            self._used = 0

    def stats(self) -> HotTierStats:
        """Returns what it holds and what it brought."""
        with self._lock:
            return HotTierStats(
                budget_bytes=self._budget,
                used_bytes=self._used,
                num_items=len(self._items),
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                invalidations=self._invalidations,
            )

    def _remove(self, kind: Hashable, key: int) -> None:
        entry = self._items.pop((kind, key), None)
        if entry is None:
            return
        self._used -= entry[1]
        kinds = self._kinds[key]
        kinds.discard(kind)
        if not kinds:
            del self._kinds[key]
