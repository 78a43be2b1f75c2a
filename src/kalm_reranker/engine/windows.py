"""Pairs with passages of several windows: scored as a pair for each window, the best one counts."""

from collections.abc import Sequence

from kalm_reranker.engine.batches import PairIndex


def pairs_of_windows(
    pairs: Sequence[PairIndex], owners: Sequence[int]
) -> tuple[list[PairIndex], list[int]]:
    """Returns pairs of prompts and windows, and the place in `pairs` that each comes from.

    Args:
        pairs: Prompts and passages.
        owners: The passage of each window, ascending.
    """
    windows: dict[int, list[int]] = {}
    for window, owner in enumerate(owners):
        windows.setdefault(owner, []).append(window)
    expanded: list[PairIndex] = []
    places: list[int] = []
    for place, (prompt, passage) in enumerate(pairs):
        for window in windows[passage]:
            expanded.append((prompt, window))
            places.append(place)
    return expanded, places


def best_windows(margins: Sequence[float], places: Sequence[int], num_pairs: int) -> list[float]:
    """Returns the largest margin of each pair's windows; margins are finite."""
    best = [float("-inf")] * num_pairs
    for margin, place in zip(margins, places, strict=True):
        best[place] = max(best[place], margin)
    return best
