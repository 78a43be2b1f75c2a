"""The two things that run the model: passages to slots, and pairs to margins.

A pipeline runs them in the thread that calls it. A server, where many requests want them at once,
gives its pipeline an object that lets one thread run them for all (`kalm_reranker.batching`).

Shape letters: C slots of a passage, D hidden width.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from kalm_reranker.encoding.passages import encode_passages
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.engine.batches import PairIndex
from kalm_reranker.engine.compiled import CompilerWatch
from kalm_reranker.engine.prompt import Prompt
from kalm_reranker.engine.scorer import PairScorer
from kalm_reranker.model.reranker_model import RerankerModel

OnProgress = Callable[[int], None]


def no_progress(count: int) -> None:
    """Takes progress that nobody wants to see."""


class Compute(Protocol):
    """Runs the model over token ids and states that were checked before."""

    def encode(
        self,
        passages: Sequence[Sequence[int]],
        ratio: int,
        *,
        store_on: torch.device,
        on_progress: OnProgress = no_progress,
    ) -> Tensor:
        """Returns the slots [sum of C, D] of passages, in order; see `encode_passages`."""
        ...

    def score(
        self,
        prompts: Sequence[Prompt],
        states: PassageStates,
        pairs: Sequence[PairIndex],
        *,
        positions: Sequence[int] | None = None,
        on_progress: OnProgress = no_progress,
    ) -> list[float]:
        """Returns the margin of each pair, in order; see `PairScorer.score`."""
        ...


class DirectCompute:
    """Runs the model in the calling thread.

    Args:
        model: The model.
        scorer: Scores pairs with it.
        watch: Watches its compiler.
        max_items: Most passages in a forward pass.
        token_budget: Most tokens in a forward pass.
        on_split: Called each time memory ran out and a batch was made smaller.
    """

    def __init__(
        self,
        model: RerankerModel,
        scorer: PairScorer,
        watch: CompilerWatch,
        *,
        max_items: int,
        token_budget: int,
        on_split: Callable[[], None],
    ) -> None:
        self.model = model
        self.scorer = scorer
        self.watch = watch
        self._max_items = max_items
        self._token_budget = token_budget
        self._on_split = on_split

    def encode(
        self,
        passages: Sequence[Sequence[int]],
        ratio: int,
        *,
        store_on: torch.device,
        on_progress: OnProgress = no_progress,
    ) -> Tensor:
        """Returns the slots [sum of C, D] of passages, in order; see `encode_passages`."""
        with self.watch():
            return encode_passages(
                self.model,
                passages,
                ratio,
                max_items=self._max_items,
                token_budget=self._token_budget,
                store_on=store_on,
                on_progress=on_progress,
                on_split=self._on_split,
            )

    def score(
        self,
        prompts: Sequence[Prompt],
        states: PassageStates,
        pairs: Sequence[PairIndex],
        *,
        positions: Sequence[int] | None = None,
        on_progress: OnProgress = no_progress,
    ) -> list[float]:
        """Returns the margin of each pair, in order; see `PairScorer.score`."""
        with self.watch():
            return self.scorer.score(
                prompts,
                states,
                pairs,
                positions=positions,
                on_progress=on_progress,
                on_split=self._on_split,
            )
