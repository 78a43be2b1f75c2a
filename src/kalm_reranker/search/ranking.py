"""The run, and the one rule by which scores become an order."""

from collections.abc import Mapping
from math import isnan
from typing import TypeAlias

from kalm_reranker.errors import InputError

# query id -> passage id -> score, higher is better. The order of the keys means nothing.
Run: TypeAlias = dict[str, dict[str, float]]


def ranked_ids(scores: Mapping[str, float]) -> list[str]:
    """Returns the ids of one query's candidates, best first.

    Equal scores are ordered by id, ascending as strings. The order then depends on the scores
    alone: not on who retrieved the candidates, nor in which order they were written down.

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
