"""Batches that shrink when memory runs out, instead of a crash."""

import ctypes
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch

from kalm_reranker.encoding.batching import Batch, batch_cost, plan_batches
from kalm_reranker.errors import OutOfMemoryError

logger = logging.getLogger(__name__)

# How a RuntimeError says that memory ran out: PyTorch's allocators (Linux, Windows, GPUs), cuBLAS,
# and oneDNN, which gives no reason: a product that could be set up in a smaller batch but not in a
# larger one has none other.
_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "could not create a primitive",
    "could not create a memory",
)
_LONGEST_REASON = 160  # characters of an allocator's message in ours


def run_batches(
    shapes: Sequence[tuple[int, ...]],
    run: Callable[[Batch], None],
    *,
    max_items: int,
    token_budget: int,
    what: str,
    on_split: Callable[[], None] = lambda: None,
) -> None:
    """Runs items in batches of similar shape; where memory runs out, in smaller ones.

    A batch that does not fit is tried again in halves, and all later batches of the call keep to
    half of its cost at once: what is left is planned anew. Each item is finished exactly once.

    This catches allocations that fail. Where an operating system promises more memory than it
    has, it kills the process instead, and nothing can be caught: set a token budget there.

    Args:
        shapes: Shape of each item, see `plan_batches`.
        run: Computes one batch, indices into `shapes`, and keeps its results. If it fails it has
            kept none, or is content to keep them again.
        max_items: Most items in a batch.
        token_budget: Largest cost of a batch, see `plan_batches`.
        what: How messages name an item, such as "passage".
        on_split: Called each time a batch of several items did not fit.

    Raises:
        OutOfMemoryError: A single item does not fit.
    """
    left = list(range(len(shapes)))
    has_warned = False
    while left:
        plan = plan_batches(
            [shapes[index] for index in left], max_items=max_items, token_budget=token_budget
        )
        finished: set[int] = set()
        for places in plan:
            batch = [left[place] for place in places]
            reason = _try(run, batch)
            if reason is None:
                finished.update(places)
                continue
            cost = batch_cost([shapes[index] for index in batch])
            if len(batch) == 1:
                raise OutOfMemoryError(
                    f"Memory ran out for a single {what} of {cost:,} tokens: {reason}.",
                    hint="Use a smaller max_length, or a device with more memory. A smaller "
                    "token_budget or batch_size helps only where several are computed at once.",
                )
            on_split()
            token_budget = cost // 2
            logger.log(
                logging.INFO if has_warned else logging.WARNING,
                "memory ran out for a batch of %d (%s, %d tokens): %s; going on with at most %d "
                "tokens in a batch. A token_budget of that size avoids the attempt.",
                *(len(batch), what, cost, reason, token_budget),
            )
            has_warned = True
            break
        left = [index for place, index in enumerate(left) if place not in finished]


def _try(run: Callable[[Batch], None], batch: Batch) -> str | None:
    """Runs a batch; returns None, or the allocator's words where memory ran out.

    Raises:
        RuntimeError: Whatever else went wrong.
    """
    try:
        run(batch)
        return None
    except (MemoryError, RuntimeError) as error:
        reason = lack_of_memory(error)
        if reason is None:
            raise
    # Only here is the error gone, and with it the frames that held the batch's tensors.
    _give_back_freed_memory()
    return reason


def lack_of_memory(error: BaseException) -> str | None:
    """Returns the allocator's words if an error says that memory ran out; None otherwise."""
    message = str(error)
    if not isinstance(error, MemoryError) and not any(sign in message for sign in _SIGNS):
        return None
    first_line = (message or "no memory").splitlines()[0]
    return first_line[:_LONGEST_REASON].rstrip(" .")


def _give_back_freed_memory() -> None:
    """Returns to the system what allocators keep of a batch that is gone.

    glibc's keeps tens of megabytes that oneDNN, which maps memory itself, cannot use.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # another system, another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
