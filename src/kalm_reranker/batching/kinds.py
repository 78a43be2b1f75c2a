"""The two kinds of work: passages to encode, and pairs to score.

Shape letters: C slots of a passage, D hidden width.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.engine.compute import DirectCompute
from kalm_reranker.engine.prompt import Prompt
from kalm_reranker.model.pooling import num_slots


@dataclass(frozen=True)
class Encode:
    """Passages, as token ids, to their slots [C, D].

    Attributes:
        compute: Runs the model; equal kinds have the same one.
        ratio: Tokens per slot.
        store_on: Where the slots go.
    """

    name: ClassVar[str] = "encode"

    compute: DirectCompute
    ratio: int
    store_on: torch.device

    def run(self, items: Sequence[Sequence[int]]) -> list[Tensor]:
        """Returns the slots of each passage, in memory of their own."""
        packed = self.compute.encode(items, self.ratio, store_on=self.store_on)
        counts = [num_slots(len(ids), self.ratio) for ids in items]
        # Copies: what is kept of one request must not keep the memory of others' passages.
        return [slots.clone() for slots in torch.split(packed, counts)]


class Pair(NamedTuple):
    """A prompt, and one of the passages of `states`."""

    prompt: Prompt
    states: PassageStates
    passage: int


@dataclass(frozen=True)
class Score:
    """Pairs to margins.

    Attributes:
        compute: Runs the model; equal kinds have the same one.
    """

    name: ClassVar[str] = "score"

    compute: DirectCompute

    def run(self, items: Sequence[Pair]) -> list[float]:
        """Returns the margin of each pair."""
        margins = [0.0] * len(items)
        alike: dict[Hashable, list[int]] = {}
        for place, pair in enumerate(items):
            alike.setdefault(_joinable(pair.states), []).append(place)
        for places in alike.values():
            scored = self._run_alike([items[place] for place in places])
            for place, margin in zip(places, scored, strict=True):
                margins[place] = margin
        return margins

    def _run_alike(self, items: Sequence[Pair]) -> list[float]:
        """Returns the margins of pairs whose states can be joined."""
        # By identity: hashing a prompt is no less work than comparing it.
        prompts: dict[int, Prompt] = {}
        states: dict[int, PassageStates] = {}
        rows: dict[int, int] = {}
        places: dict[tuple[int, int], int] = {}  # passage -> place among the joined
        for pair in items:
            if id(pair.prompt) not in prompts:
                rows[id(pair.prompt)] = len(prompts)
                prompts[id(pair.prompt)] = pair.prompt
            states.setdefault(id(pair.states), pair.states)
        if len(states) == 1:
            joined = items[0].states
            pairs = [(rows[id(pair.prompt)], pair.passage) for pair in items]
            return self.compute.score(list(prompts.values()), joined, pairs)
        parts = []
        for key, one in states.items():
            wanted = list(dict.fromkeys(pair.passage for pair in items if pair.states is one))
            for passage in wanted:
                places[key, passage] = len(places)
            parts.append(one[wanted])
        pairs = [(rows[id(pair.prompt)], places[id(pair.states), pair.passage]) for pair in items]
        return self.compute.score(list(prompts.values()), PassageStates.concatenate(parts), pairs)


def _joinable(states: PassageStates) -> Hashable:
    return (
        states.compression_ratio,
        states.provenance,
        states.slots.dtype,
        states.slots.device,
    )
