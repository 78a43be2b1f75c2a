"""Candidates of one query: the passages that the reranker is to score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kalm_reranker.search.filters import Predicate

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
    are no more.

    Args:
        fetch: The first stage.
        count: Hits wanted.
        predicate: The condition.
        metadata_of: Metadata of the passages that exist, by key.
    """
    kept: list[tuple[int, float]] = []
    looked_at, depth = 0, count
    while True:
        hits = fetch(depth)
        fresh = hits[looked_at:]
        metadata = metadata_of([key for key, _ in fresh])
        kept += [hit for hit in fresh if hit[0] in metadata and predicate(metadata[hit[0]])]
        looked_at = len(hits)
        if len(kept) >= count or len(hits) < depth:
            return kept[:count], looked_at
        depth *= 4
