"""Token ids of passages to their pooled states, in batches of similar length.

Shape letters: P passages, S passage tokens, C slots, D hidden width.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from kalm_reranker.encoding.backoff import lack_of_memory, run_batches
from kalm_reranker.encoding.batching import Batch
from kalm_reranker.errors import OutOfMemoryError
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
    on_split: Callable[[], None] = lambda: None,
) -> Tensor:
    """Encodes passages and pools their states.

    Args:
        model: Runs on its own device, in its own dtype.
        passages: Token ids of each passage, none empty.
        ratio: Tokens per slot.
        max_items: Most passages in a batch; 1 makes every result independent of the others.
        token_budget: Most tokens in a batch, as if it were padded; a longer passage is alone.
        store_on: Device of the result; batches move there one by one.
        on_progress: Called after each batch with the number of passages it held.
        on_split: Called each time memory ran out and the batch was made smaller.

    Returns:
        The slots [sum of C, D] of all passages in the given order, on `store_on`.

    Raises:
        OutOfMemoryError: A single passage, or what is kept of all, does not fit into memory.
    """
    slot_counts = [num_slots(len(ids), ratio) for ids in passages]
    offsets = list(accumulate(slot_counts, initial=0))
    width = model.config.encoder.hidden_width
    packed = _new_slots(offsets[-1], width, model.dtype, store_on)

    def encode_batch(batch: Batch) -> None:
        token_ids, mask = pad_token_ids([passages[index] for index in batch])
        with torch.inference_mode():
            slots, _ = model.encode(token_ids.to(model.device), mask.to(model.device), ratio)
        slots = slots.to(store_on)
        for row, index in enumerate(batch):
            packed[offsets[index] : offsets[index + 1]] = slots[row, : slot_counts[index]]
        on_progress(len(batch))

    run_batches(
        [(len(ids),) for ids in passages],
        encode_batch,
        max_items=max_items,
        token_budget=token_budget,
        what="passage",
        on_split=on_split,
    )
    return packed


def _new_slots(count: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    try:
        return torch.empty(count, width, dtype=dtype, device=device)
    except (MemoryError, RuntimeError) as error:
        reason = lack_of_memory(error)
        if reason is None:
            raise
        raise OutOfMemoryError(
            f"Memory ran out for the states of all passages, {count:,} slots of "
            f"{width * dtype.itemsize:,} bytes: {reason}.",
            hint="Give fewer passages at a time, or a larger compression_ratio.",
        ) from error


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
