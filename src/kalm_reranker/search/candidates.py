"""Candidates of one query: the passages that the reranker is to score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kalm_reranker.search.filters import Predicate

# Passages whose texts are in memory at once, where only their metadata are wanted.
_LOOKED_UP_AT_ONCE = 256

Fetch = Callable[[int], Sequence[tuple[int, float]]]  # top_k -> (key, score), best first


@dataclass(frozen=True, slots=True)
class Candidates:
    """Passages in first-stage order.

    Attributes:
        keys: Keys of distinct passages, best first.
        scores: Score of each, by key; None where the first stage gives none.
    """

    keys: tuple[int, ...]
    scores: Mapping[int, float] | None


def filtered(
    fetch: Fetch,
    count: int,
    predicate: Predicate,
    metadata_of: Callable[[Sequence[int]], Mapping[int, Mapping[str, Any]]],
) -> tuple[list[tuple[int, float]], int]:
    """Returns the first `count` hits whose metadata match, and how many were looked at.

    A first stage knows no metadata, so it is asked for ever more hits until enough match, or there
    are no more. What it gives when asked for more need not begin with what it gave before: a hybrid
    ranking changes with its depth. Hits are therefore taken from the last answer alone.

    Args:
        fetch: The first stage.
        count: Hits wanted.
        predicate: The condition.
        metadata_of: Metadata of the passages that exist, by key; asked for some at a time, since
            it may have to read whole passages for them.
    """
    matches: dict[int, bool] = {}
    depth = count
    while True:
        hits = fetch(depth)
        fresh = [key for key, _ in hits if key not in matches]
        for start in range(0, len(fresh), _LOOKED_UP_AT_ONCE):
            keys = fresh[start : start + _LOOKED_UP_AT_ONCE]
            metadata = metadata_of(keys)
            matches |= {key: key in metadata and predicate(metadata[key]) for key in keys}
        kept = [hit for hit in hits if matches[hit[0]]]
        if len(kept) >= count or len(hits) < depth:
            return kept[:count], len(matches)
        depth *= 4
