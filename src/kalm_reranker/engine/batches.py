"""Pairs to the tensors of a forward pass: which pairs share one, padded where, packed where.

Shape letters: B pairs, T prompt tokens, N slots of all passages, C slots of a passage, D hidden
width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kalm_reranker.encoding.passages import pad_token_ids
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.engine.prompt import Prompt
from kalm_reranker.model.context import Context, PassageSlots

PairIndex = tuple[int, int]  # (index of a prompt, index of a passage)

# Slots of passages of unequal length are padded to a multiple of this, for attention alone. Few
# shapes keep few kernels in memory, which PyTorch makes anew for each shape.
SLOT_MULTIPLE = 16


@dataclass(frozen=True)
class PairBatch:
    """The tensors of one forward pass, on the device that runs it.

    Attributes:
        prompt_ids: [B, T] integer, right-padded: prompts, or what follows the context's tokens.
        last_positions: [B] integer, index of each prompt's last token among these.
        context: What the prompts attend to.
    """

    prompt_ids: Tensor
    last_positions: Tensor
    context: Context


def prepare(
    prompts: Sequence[Prompt],
    states: PassageStates,
    pairs: Sequence[PairIndex],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> PairBatch:
    """Makes a batch of whole prompts and passage states, and moves it to the device."""
    prompt_ids, last_positions = padded_prompts([prompts[prompt].ids for prompt, _ in pairs])
    return PairBatch(
        prompt_ids=prompt_ids.to(device),
        last_positions=last_positions.to(device),
        context=packed_slots(states, [passage for _, passage in pairs], device=device, dtype=dtype),
    )


def padded_prompts(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Returns ids [B, T], right-padded, and the position of each prompt's last token [B]."""
    prompt_ids, mask = pad_token_ids(prompts)
    return prompt_ids, mask.sum(1) - 1


def packed_slots(
    states: PassageStates,
    passages: Sequence[int],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> PassageSlots:
    """Returns the slots of passages, one after another, each passage once.

    Args:
        states: The passages.
        passages: Which of them each pair reads; repeats are allowed.
        device: Where the slots go.
        dtype: What they are converted to.
    """
    distinct = list(dict.fromkeys(passages))
    place = {passage: row for row, passage in enumerate(distinct)}
    slots = states.slots_of_all(distinct).to(device=device, dtype=dtype)
    counts = [states.slot_counts[passage] for passage in distinct]
    return slots_in_runs(slots, counts, [place[passage] for passage in passages])


def padded_width(num_slots: int) -> int:
    """Returns the width that attention pads a passage to, among passages of other lengths."""
    return -(-num_slots // SLOT_MULTIPLE) * SLOT_MULTIPLE


def slots_in_runs(
    slots: Tensor, counts: Sequence[int], runs: Sequence[int], width: int | None = None
) -> PassageSlots:
    """Returns slots [N, D] of passages, one after another, as pairs read them.

    Args:
        slots: Of all passages.
        counts: How many each passage has.
        runs: The passage of each pair.
        width: C, if it is to be that also where less would do.
    """
    longest = max(counts)
    is_even = min(counts) == longest and list(runs) == list(range(len(counts)))
    if is_even and longest == (width or longest):
        return PassageSlots(slots, None, None, len(runs))
    width = width or padded_width(longest)
    lengths = torch.tensor(counts)
    rows = torch.tensor(runs)
    starts = (lengths.cumsum(0) - lengths)[rows].unsqueeze(1)  # [B, 1]
    offsets = torch.arange(width)
    mask = offsets < lengths[rows].unsqueeze(1)  # [B, C]
    index = torch.where(mask, starts + offsets, starts)
    return PassageSlots(slots, index.to(slots.device), mask.to(slots.device), len(runs))
