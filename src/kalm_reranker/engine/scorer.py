"""Scores prompts against passage states: prepare (CPU), forward (device), finish (CPU).

Shape letters: B pairs, T prompt tokens, C slots, D hidden width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kalm_reranker.encoding.batching import Batch, plan_batches
from kalm_reranker.encoding.passages import pad_token_ids
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.engine.placement import dtype_name
from kalm_reranker.errors import NonFiniteScoreError
from kalm_reranker.scoring import margin_from_logits

PairIndex = tuple[int, int]  # (index of a prompt, index of a passage)


@dataclass(frozen=True)
class PairBatch:
    """The tensors of one forward pass, on the device that runs it.

    Args:
        prompt_ids: [B, T] integer, right-padded.
        last_positions: [B] integer, index of each prompt's last token.
        passage_states: [B, C, D].
        slot_mask: [B, C] boolean.
    """

    prompt_ids: Tensor
    last_positions: Tensor
    passage_states: Tensor
    slot_mask: Tensor


class Forward(Protocol):
    """Anything that turns a batch into logits [B, 2] of yes and no, float32."""

    def __call__(self, batch: PairBatch) -> Tensor:
        """Runs one batch."""
        ...


def plan_pairs(
    prompts: Sequence[Sequence[int]],
    states: PassageStates,
    pairs: Sequence[PairIndex],
    *,
    max_items: int,
    token_budget: int,
) -> list[Batch]:
    """Groups pairs into batches of similar prompts and passages; see `plan_batches`."""
    shapes = [(len(prompts[prompt]), states.slot_counts[passage]) for prompt, passage in pairs]
    return plan_batches(shapes, max_items=max_items, token_budget=token_budget)


def prepare(
    prompts: Sequence[Sequence[int]],
    states: PassageStates,
    pairs: Sequence[PairIndex],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> PairBatch:
    """Pads the prompts and passage states of one batch of pairs and moves them to the device."""
    prompt_ids, mask = pad_token_ids([prompts[prompt] for prompt, _ in pairs])
    slots, slot_mask = states.padded([passage for _, passage in pairs])
    return PairBatch(
        prompt_ids=prompt_ids.to(device),
        last_positions=(mask.sum(1) - 1).to(device),
        passage_states=slots.to(device=device, dtype=dtype),
        slot_mask=slot_mask.to(device),
    )


def score_pairs(
    forward: Forward,
    prompts: Sequence[Sequence[int]],
    states: PassageStates,
    pairs: Sequence[PairIndex],
    *,
    device: torch.device,
    dtype: torch.dtype,
    max_items: int,
    token_budget: int,
    positions: Sequence[int] | None = None,
    on_progress: Callable[[int], None] = lambda count: None,
) -> list[float]:
    """Returns the margin z_yes - z_no of each pair, in the order of `pairs`.

    Args:
        forward: Runs one batch.
        prompts: Token ids of the prompts.
        states: Passage states.
        pairs: Which prompt goes with which passage.
        device: Where batches are sent.
        dtype: Dtype that passage states are converted to.
        max_items: Most pairs in a batch; 1 makes every score independent of the others.
        token_budget: Most tokens (prompt and slots, padding included) in a batch.
        positions: What errors call each pair, if not its place in `pairs`.
        on_progress: Called after each batch with the number of pairs it held.

    Raises:
        NonFiniteScoreError: A logit is NaN or infinite.
    """
    margins = [0.0] * len(pairs)
    plan = plan_pairs(prompts, states, pairs, max_items=max_items, token_budget=token_budget)
    for batch in plan:
        members = [pairs[index] for index in batch]
        prepared = prepare(prompts, states, members, device=device, dtype=dtype)
        with torch.inference_mode():
            logits = forward(prepared)
        check_finite(logits, [positions[i] for i in batch] if positions else batch, dtype)
        for index, (yes_logit, no_logit) in zip(batch, logits.tolist(), strict=True):
            margins[index] = margin_from_logits(yes_logit, no_logit)
        on_progress(len(batch))
    return margins


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
