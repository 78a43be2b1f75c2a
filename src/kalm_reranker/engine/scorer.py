"""Scores prompts against passage states: prepare (CPU), forward (device), finish (CPU)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kalm_reranker.encoding.backoff import run_batches
from kalm_reranker.encoding.batching import Batch
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.engine.batches import PairBatch, PairIndex, padded_prompts, prepare
from kalm_reranker.engine.placement import dtype_name
from kalm_reranker.engine.prefix_cache import Prefix, PrefixCache
from kalm_reranker.engine.prompt import Prompt
from kalm_reranker.errors import NonFiniteScoreError
from kalm_reranker.scoring import margin_from_logits

# What reading a cached key costs beside a prompt token, in plans: a copy and two products.
_KEYS_PER_TOKEN = 4
# A passage that takes more than this share of the prefix cache is scored without it.
_LARGEST_SHARE = 8


class Forward(Protocol):
    """Anything that turns a batch into logits [B, 2] of yes and no, float32."""

    def __call__(self, batch: PairBatch) -> Tensor:
        """Runs one batch."""
        ...


@dataclass(frozen=True, kw_only=True)
class PairScorer:
    """Scores pairs in batches.

    Attributes:
        forward: Runs one batch.
        device: Where batches are sent.
        dtype: Dtype that passage states are converted to.
        max_items: Most pairs in a batch; 1 makes every score independent of the others.
        token_budget: Most tokens (prompts and slots, padding included) in a batch.
        cache: Keeps keys and values of passages that have an identity; None for none.
    """

    forward: Forward
    device: torch.device
    dtype: torch.dtype
    max_items: int
    token_budget: int
    cache: PrefixCache | None = None

    def score(
        self,
        prompts: Sequence[Prompt],
        states: PassageStates,
        pairs: Sequence[PairIndex],
        *,
        positions: Sequence[int] | None = None,
        on_progress: Callable[[int], None] = lambda count: None,
        on_split: Callable[[], None] = lambda: None,
    ) -> list[float]:
        """Returns the margin z_yes - z_no of each pair, in the order of `pairs`.

        Whether a pair goes through the cache depends on its prompt and its passage's length
        alone, never on what the cache holds: the same pair is always computed in the same way.

        Args:
            prompts: The prompts.
            states: Passage states.
            pairs: Which prompt goes with which passage.
            positions: What errors call each pair, if not its place in `pairs`.
            on_progress: Called after each batch with the number of pairs it held.
            on_split: Called each time memory ran out and the batch was made smaller.

        Raises:
            NonFiniteScoreError: A logit is NaN or infinite.
            OutOfMemoryError: A single pair does not fit into memory.
        """
        margins = [0.0] * len(pairs)
        groups: dict[Prefix, list[int]] = {}
        for place, (prompt, passage) in enumerate(pairs):
            prefix = self._cached_prefix(prompts[prompt], states, passage)
            groups.setdefault(prefix, []).append(place)
        for prefix, places in groups.items():

            def score_batch(
                batch: Batch, prefix: Prefix = prefix, places: list[int] = places
            ) -> None:
                members = [places[index] for index in batch]
                logits = self._logits(prompts, states, [pairs[place] for place in members], prefix)
                names = [positions[place] for place in members] if positions else members
                check_finite(logits, names, self.dtype)
                for place, (yes_logit, no_logit) in zip(members, logits.tolist(), strict=True):
                    margins[place] = margin_from_logits(yes_logit, no_logit)
                on_progress(len(batch))

            shapes = [
                _shape(prompts[prompt], states.slot_counts[passage], prefix)
                for prompt, passage in (pairs[place] for place in places)
            ]
            run_batches(
                shapes,
                score_batch,
                max_items=self._most_items([pairs[place] for place in places], states, prefix),
                token_budget=self.token_budget,
                what="pair",
                on_split=on_split,
            )
        return margins

    def cost(self, prompt: Prompt, states: PassageStates, passage: int) -> int:
        """Returns what a pair counts in the token budget: its prompt tokens, and its keys."""
        prefix = self._cached_prefix(prompt, states, passage)
        return sum(_shape(prompt, states.slot_counts[passage], prefix))

    def _logits(
        self,
        prompts: Sequence[Prompt],
        states: PassageStates,
        pairs: Sequence[PairIndex],
        prefix: Prefix,
    ) -> Tensor:
        """Returns the logits [B, 2] of pairs that begin with the same cached prefix."""
        with torch.inference_mode(), self._prepared(prompts, states, pairs, prefix) as batch:
            return self.forward(batch)

    def _most_items(self, pairs: Sequence[PairIndex], states: PassageStates, prefix: Prefix) -> int:
        """Returns how many pairs a batch may have: with a cache, all of it must fit there."""
        if not prefix or self.cache is None:
            return self.max_items
        largest = max(states.slot_counts[passage] for _, passage in pairs)
        fits = self.cache.num_blocks // self.cache.blocks_of(prefix, largest)
        return min(self.max_items, fits)

    def _cached_prefix(self, prompt: Prompt, states: PassageStates, passage: int) -> Prefix:
        """Returns the prefix whose keys and values are kept for a pair; empty if none are."""
        if self.cache is None or states.identities is None or not prompt.prefix:
            return ()
        if states.identities[passage] is None:
            return ()
        blocks = self.cache.blocks_of(prompt.prefix, states.slot_counts[passage])
        return prompt.prefix if blocks * _LARGEST_SHARE <= self.cache.num_blocks else ()

    @contextmanager
    def _prepared(
        self,
        prompts: Sequence[Prompt],
        states: PassageStates,
        pairs: Sequence[PairIndex],
        prefix: Prefix,
    ) -> Iterator[PairBatch]:
        """Makes a batch of pairs; with a prefix, one that reads it from the cache."""
        if not prefix:
            yield prepare(prompts, states, pairs, device=self.device, dtype=self.dtype)
            return
        assert self.cache is not None  # a prefix says so
        assert states.identities is not None
        prompt_ids, last_positions = padded_prompts([prompts[prompt].rest for prompt, _ in pairs])
        passages = [passage for _, passage in pairs]
        identities = [
            (states.identities[passage], states.compression_ratio) for passage in passages
        ]

        def slots_of(pair: int) -> Tensor:
            return states.slots_of(passages[pair]).to(device=self.device, dtype=self.dtype)

        with self.cache.context(prefix, identities, slots_of) as context:
            yield PairBatch(prompt_ids.to(self.device), last_positions.to(self.device), context)


def _shape(prompt: Prompt, num_slots: int, prefix: Prefix) -> tuple[int, int]:
    """Returns what a pair counts in the token budget: its prompt tokens, and its keys."""
    if not prefix:
        return len(prompt.ids), num_slots
    return len(prompt.rest), -(-(len(prefix) + num_slots) // _KEYS_PER_TOKEN)


def check_finite(logits: Tensor, positions: Sequence[int], dtype: torch.dtype) -> None:
    """Refuses logits [B, 2] that are no numbers.

    Raises:
        NonFiniteScoreError: A logit is NaN or infinite; the message names the pair.
    """
    finite = torch.isfinite(logits).all(1).tolist()
    bad = [position for position, fine in zip(positions, finite, strict=True) if not fine]
    if bad:
        raise NonFiniteScoreError(
            f"The model gave non-finite logits for {len(bad)} of {len(positions)} pairs in a "
            f"batch (first: pair {min(bad)}) in {dtype_name(dtype)}.",
            hint="Use dtype='bfloat16' or 'float32'; float16 overflows in this architecture. In "
            "those dtypes it means damaged weights or damaged passage states.",
        )
