"""Token ids of passages to their pooled states, in batches of similar length.

Shape letters: P passages, S passage tokens, C slots, D hidden width.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from kalm_reranker.encoding.batching import plan_batches
from kalm_reranker.model.pooling import num_slots
from kalm_reranker.model.reranker_model import RerankerModel


def encode_passages(
    model: RerankerModel,
    passages: Sequence[Sequence[int]],
    ratio: int,
    *,
    max_items: int,
    token_budget: int,
    store_on: torch.device,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Tensor:
    """Encodes passages and pools their states.

    Args:
        model: Runs on its own device, in its own dtype.
        passages: Token ids of each passage, none empty.
        ratio: Tokens per slot.
        max_items: Most passages in a batch; 1 makes every result independent of the others.
        token_budget: Most tokens in a batch, padding included.
        store_on: Device of the result; batches move there one by one.
        on_progress: Called after each batch with the number of passages it held.

    Returns:
        The slots [sum of C, D] of all passages in the given order, on `store_on`.
    """
    slot_counts = [num_slots(len(ids), ratio) for ids in passages]
    offsets = list(accumulate(slot_counts, initial=0))
    width = model.config.encoder.hidden_width
    packed = torch.empty(offsets[-1], width, dtype=model.dtype, device=store_on)
    lengths = [(len(ids),) for ids in passages]
    for batch in plan_batches(lengths, max_items=max_items, token_budget=token_budget):
        token_ids, mask = pad_token_ids([passages[index] for index in batch])
        with torch.inference_mode():
            slots, _ = model.encode(token_ids.to(model.device), mask.to(model.device), ratio)
        slots = slots.to(store_on)
        for row, index in enumerate(batch):
            packed[offsets[index] : offsets[index + 1]] = slots[row, : slot_counts[index]]
        on_progress(len(batch))
    return packed


def pad_token_ids(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Returns ids [P, S] right-padded with 0, and their mask [P, S], True at tokens.

    What stands at padding never reaches a result, so any known id would do. Rows may share memory.
    """
    first = sequences[0]
    if all(ids is first for ids in sequences):  # one query with all its candidates
        token_ids = torch.tensor([first], dtype=torch.long).expand(len(sequences), -1)
        return token_ids, torch.ones(token_ids.shape, dtype=torch.bool)
    lengths = [len(ids) for ids in sequences]
    longest = max(lengths)
    token_ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    for row, ids in zip(token_ids.unbind(), sequences, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    return token_ids, torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
