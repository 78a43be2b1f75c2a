"""The run, and the one rule by which scores become an order."""

from collections.abc import Hashable, Mapping
from math import isnan
from typing import Any, Protocol, TypeAlias, TypeVar

from kalm_reranker.errors import InputError


class Ordered(Hashable, Protocol):
    """What can name a passage: ids as strings, or a store's keys as integers."""

    def __lt__(self, other: Any, /) -> bool: ...  # noqa: ANN401


K = TypeVar("K", bound=Ordered)

# query id -> passage id -> score, higher is better. The order of the keys means nothing.
Run: TypeAlias = dict[str, dict[str, float]]


def ranked_ids(scores: Mapping[K, float]) -> list[K]:
    """Returns the ids of one query's candidates, best first.

    Equal scores are ordered by id, ascending, as strings where ids are strings. The order then
    depends on the scores alone: not on who retrieved the candidates, nor in which order they were
    written down.

    Raises:
        InputError: A score is NaN, which has no place in an order.
    """
    for passage_id, score in scores.items():
        if isnan(score):
            raise InputError(
                f"score of passage {passage_id!r} is NaN; a ranking needs comparable numbers.",
                hint="Look for the step that produced it; reranker margins are always finite.",
            )
    return sorted(scores, key=lambda passage_id: (-scores[passage_id], passage_id))
