"""Keys and values that do not depend on the query, computed once per passage and kept.

The decoder reads system and task instruction before the query. What it makes of them depends on
the passage, but not on the query, and so do the passage's own keys and values in every layer: for
a fixed instruction both are functions of the passage. With them kept, a query costs the forward
pass of its own tokens alone.

Passages are read in groups whose attention has one width and one kernel, which depend on the
passage alone, and by products of some rows at least, since those of few rows take other kernels.
On a CPU the rows of a product do not depend on each other then, so a passage's keys and values are
the same numbers whatever the request was that first needed them, and however often they were
dropped and computed again (tests/engine/test_prefix_cache.py asks for the bits).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kalm_reranker.engine.batches import padded_width, slots_in_runs
from kalm_reranker.engine.key_value_arena import ROWS, CachedContext, KeyValueArena
from kalm_reranker.errors import EngineError
from kalm_reranker.model.context import PassageSlots
from kalm_reranker.model.reranker_model import RerankerModel
from kalm_reranker.model.softmax_attention import most_as_alone

# Slots that are projected together, at least: products of fewer rows are rounded otherwise.
_FEWEST_ROWS = 16

# For memory that other threads' forward passes hold: longer than any takes.
_LONGEST_WAIT_S = 600

Prefix = tuple[int, ...]  # token ids
_Key = tuple[Prefix, Hashable]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixCacheStats:
    """What a prefix cache holds and what it brought.

    Attributes:
        budget_bytes: Most bytes it may hold.
        used_bytes: Bytes of the passages it holds.
        num_passages: Passages it holds, each with one instruction.
        bytes_per_token: Of a prefix token, and of a slot.
        hits: Passages of forward passes that were held.
        misses: Passages of forward passes that had to be read first.
        evictions: Passages dropped to make room.
    """

    budget_bytes: int
    used_bytes: int
    num_passages: int
    bytes_per_token: int
    hits: int
    misses: int
    evictions: int

    @property
    def bytes_per_passage(self) -> float:
        """Mean of the passages held; 0 if there are none."""
        return self.used_bytes / self.num_passages if self.num_passages else 0.0


@dataclass(slots=True)
class _Entry:
    blocks: list[int]
    num_rows: int
    users: int = 0  # forward passes that read it now; it stays while there are any


class PrefixCache:
    """Keeps keys and values of passages under a byte budget. Safe to use from several threads.

    Args:
        model: Reads what is missing.
        budget_bytes: Most bytes to hold; passages used last stay.
    """

    def __init__(self, model: RerankerModel, budget_bytes: int) -> None:
        self._model = model
        # A prefix has some 60 tokens: enough rows for matrix products to run at full speed.
        self._read_together = 8 if model.device.type == "cpu" else 64
        self._budget = budget_bytes
        self._arena = KeyValueArena(
            model.config.decoder, budget_bytes, device=model.device, dtype=model.dtype
        )
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()  # least recently used first
        self._free = list(range(self._arena.num_blocks))
        self._changed = threading.Condition()  # guards everything above and below
        self._reading = threading.Lock()  # one thread at a time reads passages
        self._hits = self._misses = self._evictions = 0

    def blocks_of(self, prefix: Prefix, num_slots: int) -> int:
        """Returns how many blocks a passage takes, of `num_blocks`."""
        return -(-(len(prefix) + num_slots) // ROWS)

    @property
    def num_blocks(self) -> int:
        """Blocks in the budget: what the passages of one forward pass may take together."""
        return self._arena.num_blocks

    @contextmanager
    def context(
        self, prefix: Prefix, identities: Sequence[Hashable], slots_of: Callable[[int], Tensor]
    ) -> Iterator[CachedContext]:
        """Lends the context of pairs for one forward pass; reads what is not held.

        Args:
            prefix: Token ids that the prompts begin with.
            identities: Of each pair's passage; the blocks of the distinct ones fit into the
                budget together.
            slots_of: Returns the slots [C, D] of pair i's passage, on the model's device. Called
                for those that are not held.
        """
        keys = [(prefix, identity) for identity in identities]
        entries = self._held(dict.fromkeys(keys))
        if entries is None:
            with self._reading:
                entries = self._read(prefix, {key: pair for pair, key in enumerate(keys)}, slots_of)
        try:
            yield self._arena.context(
                [entries[key].blocks for key in keys],
                [entries[key].num_rows for key in keys],
                len(prefix),
            )
        finally:
            self._give_back(entries.values())

    def stats(self) -> PrefixCacheStats:
        """Returns what it holds and what it brought."""
        with self._changed:
            used = sum(len(entry.blocks) for entry in self._entries.values())
            return PrefixCacheStats(
                budget_bytes=self._budget,
                used_bytes=used * ROWS * self._arena.row_bytes,
                num_passages=len(self._entries),
                bytes_per_token=self._arena.row_bytes,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
            )

    def clear(self) -> None:
        """Drops every passage that is not in use."""
        with self._changed:
            for key in [key for key, entry in self._entries.items() if not entry.users]:
                self._drop(key)

    def forget(self, identities: Collection[Hashable]) -> None:
        """Drops the named passages, with every instruction, that are not in use."""
        unwanted = set(identities)
        with self._changed:
            for key in [key for key in self._entries if key[1] in unwanted]:
                if not self._entries[key].users:
                    self._drop(key)

    def _held(self, keys: Collection[_Key]) -> dict[_Key, _Entry] | None:
        """Takes all entries into use, if all are there."""
        with self._changed:
            if not all(key in self._entries for key in keys):
                return None
            self._hits += len(keys)
            return {key: self._use(key) for key in keys}

    def _read(
        self, prefix: Prefix, pairs: Mapping[_Key, int], slots_of: Callable[[int], Tensor]
    ) -> dict[_Key, _Entry]:
        """Takes the entries into use that are there, and reads the others into new ones."""
        with self._changed:
            entries = {key: self._use(key) for key in pairs if key in self._entries}
            missing = [key for key in pairs if key not in entries]
            self._hits += len(entries)
            self._misses += len(missing)
        try:
            slots = {key: slots_of(pairs[key]) for key in missing}
            for group in self._groups(len(prefix), slots):
                read = self._read_group(prefix, [slots[key] for key in group])
                entries.update(zip(group, read, strict=True))
                with self._changed:
                    self._entries.update(zip(group, read, strict=True))
        except BaseException:
            self._give_back(entries.values())
            raise
        return entries

    def _groups(self, num_prompt: int, slots: Mapping[_Key, Tensor]) -> Iterator[list[_Key]]:
        """Yields passages that are read together: of one width, and not too many."""
        by_width: dict[int, list[_Key]] = {}
        for key, states in slots.items():
            by_width.setdefault(padded_width(len(states)), []).append(key)
        for width, group in by_width.items():
            most = self._most_together(num_prompt, num_prompt + width)
            for start in range(0, len(group), most):
                yield group[start : start + most]

    def _most_together(self, tokens: int, keys: int) -> int:
        """Returns how many passages may be read together, by the tokens and keys of each."""
        if self._arena.device.type != "cpu":
            return self._read_together
        model = self._model
        heads = model.config.decoder.num_query_heads
        return min(self._read_together, most_as_alone(heads, tokens, keys, model.dtype))

    def _read_group(self, prefix: Prefix, slots: Sequence[Tensor]) -> list[_Entry]:
        """Reads passages into new entries, in use."""
        counts = [len(states) for states in slots]
        entries = self._allocate([len(prefix) + count for count in counts])
        try:
            rows = torch.cat(list(slots))
            if len(rows) < _FEWEST_ROWS:
                rows = nn.functional.pad(rows, (0, 0, 0, _FEWEST_ROWS - len(rows)))
            self._fill(
                entries,
                prefix,
                slots_in_runs(rows, counts, range(len(counts)), padded_width(max(counts))),
            )
        except BaseException:
            with self._changed:
                for entry in entries:
                    self._free += entry.blocks
                self._changed.notify_all()
            raise
        return entries

    def _fill(self, entries: Sequence[_Entry], prefix: Prefix, passages: PassageSlots) -> None:
        """Runs the decoder over the prefix, and keeps all keys and values it makes."""
        arena, model = self._arena, self._model
        num_prompt, num_slots = len(prefix), passages.num_keys
        for entry in entries:
            arena.clear(entry.blocks[-1])  # its last rows may stay unused
        rows = torch.stack(
            [
                arena.rows_of(entry.blocks, entry.num_rows, num_prompt + num_slots)
                for entry in entries
            ]
        )
        rows = rows.flatten().to(arena.device)  # [B * (P0 + C)]
        ids = torch.tensor(prefix, device=arena.device).expand(len(entries), -1)
        with torch.inference_mode():
            embedded = model.model.encoder.embed_tokens(ids)
            layers = model.model.decoder.keys_values(embedded, passages)
            for layer, (of_passage, of_prompt) in enumerate(layers):
                # [B, G, P0 + C, K] -> [B * (P0 + C), G, K]
                keys, values = (
                    torch.cat(parts, dim=2).transpose(1, 2).flatten(0, 1)
                    for parts in zip(of_prompt, of_passage, strict=True)
                )
                arena.write(layer, rows, keys, values)

    def _allocate(self, row_counts: Sequence[int]) -> list[_Entry]:
        """Takes free blocks for passages; drops what was used longest ago to have them."""
        block_counts = [-(-rows // ROWS) for rows in row_counts]
        with self._changed:
            while len(self._free) < sum(block_counts):
                unused = next(
                    (key for key, entry in self._entries.items() if not entry.users), None
                )
                if unused is None:  # other threads' forward passes hold the rest, and will end
                    self._wait()
                else:
                    self._drop(unused)
                    self._evictions += 1
            entries = []
            for rows, blocks in zip(row_counts, block_counts, strict=True):
                entries.append(_Entry(self._free[-blocks:], rows, users=1))
                del self._free[-blocks:]
            return entries

    def _wait(self) -> None:
        if not self._changed.wait(_LONGEST_WAIT_S):
            raise EngineError(
                "No forward pass gave memory of the prefix cache back for "
                f"{_LONGEST_WAIT_S} seconds; one that was interrupted may have kept it.",
                hint="Make the reranker anew, or give it prefix_cache_bytes=0.",
            )

    def _drop(self, key: _Key) -> None:
        self._free += self._entries.pop(key).blocks

    def _use(self, key: _Key) -> _Entry:
        entry = self._entries[key]
        entry.users += 1
        self._entries.move_to_end(key)
        return entry

    def _give_back(self, entries: Iterable[_Entry]) -> None:
        with self._changed:
            for entry in entries:
                entry.users -= 1
            self._changed.notify_all()
