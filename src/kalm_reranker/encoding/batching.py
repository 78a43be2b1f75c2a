"""Which items share a batch: similar lengths together, under a token budget."""

from collections.abc import Sequence

Batch = list[int]


def batch_cost(shapes: Sequence[tuple[int, ...]]) -> int:
    """Returns what a batch of these shapes costs, in tokens: items times the largest of each."""
    longest: list[int] = [max(sizes) for sizes in zip(*shapes, strict=True)]
    return len(shapes) * sum(longest)


def plan_batches(
    lengths: Sequence[tuple[int, ...]], *, max_items: int, token_budget: int
) -> list[Batch]:
    """Groups items so that padding is small and a batch's padded size is bounded.

    An item's shape is one or more lengths that are padded separately (a passage: its tokens; a
    pair: its prompt tokens and its passage slots). A batch costs its number of items times the
    sum of the largest length of each kind (`batch_cost`).

    Args:
        lengths: Shape of each item, all with the same number of lengths.
        max_items: Most items in a batch.
        token_budget: Largest cost of a batch, in tokens. An item that exceeds it on its own gets
            a batch of its own: nothing is ever left out.

    Returns:
        Batches of indices into `lengths`, the largest shapes first (so that memory runs out at
        once or never); every index occurs exactly once. The plan depends on `lengths` alone.
    """
    order = sorted(range(len(lengths)), key=lambda i: (tuple(-n for n in lengths[i]), i))
    batches: list[Batch] = []
    largest: tuple[int, ...] = ()
    for index in order:
        widened = tuple(map(max, largest, lengths[index])) if batches else lengths[index]
        if (
            not batches
            or len(batches[-1]) == max_items
            or (len(batches[-1]) + 1) * sum(widened) > token_budget
        ):
            batches.append([])
            widened = lengths[index]
        batches[-1].append(index)
        largest = widened
    return batches
