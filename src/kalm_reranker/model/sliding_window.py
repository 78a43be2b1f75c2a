"""The encoder's sliding window, and which keys a block of queries needs at all.

The window lies around a token: (W + 1) // 2 - 1 tokens back and W // 2 forward, so a token sees at
most W keys, itself included. A block of neighbouring queries sees a run of keys that is hardly
longer, whatever the length of the passage: that is what makes long passages affordable.

Shape letters: T queries, S keys, W window.
"""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor


class Block(NamedTuple):
    """A run of queries and the run of keys that any of them sees, as positions in a passage."""

    query: int
    end_query: int
    key: int
    end_key: int


def encoder_window(queries: Tensor, keys: Tensor, window: int) -> Tensor:
    """Returns which keys queries see in a sliding encoder layer.

    Args:
        queries: Positions, [.., T] integer.
        keys: Positions, [.., S] integer.
        window: W.

    Returns:
        [.., T, S] boolean, True where the query sees the key.
    """
    queries, keys = queries.unsqueeze(-1), keys.unsqueeze(-2)
    # Compared by broadcasting: a table of distances would take eight times the memory.
    return (keys > queries - (window + 1) // 2) & (keys <= queries + window // 2)


def reach(window: int) -> tuple[int, int]:
    """Returns how many tokens a query sees back and forward."""
    return (window + 1) // 2 - 1, window // 2


def sees_everything(num_tokens: int, window: int | None) -> bool:
    """Returns whether every token of a passage sees every other one, so that no mask is needed."""
    return window is None or num_tokens - 1 <= min(reach(window))


def blocks(num_tokens: int, size: int, window: int | None) -> Iterator[Block]:
    """Cuts the queries of a passage into blocks of `size`, each with the keys it needs.

    Args:
        num_tokens: Length of the passage.
        size: Queries in a block; the last one may be shorter.
        window: W; None where every token sees the whole passage.
    """
    back, forward = (num_tokens, num_tokens) if window is None else reach(window)
    for query in range(0, num_tokens, size):
        end = min(query + size, num_tokens)
        yield Block(query, end, max(0, query - back), min(num_tokens, end + forward))
