"""Checks on what is handed to an index."""

import math
import os
from collections.abc import Iterable, Mapping
from numbers import Real

from kalm_reranker.errors import InvalidOptionError, TextTypeError, shown
from kalm_reranker.options import UNSET
from kalm_reranker.store.passage import check_id


def checked_location(value: object, name: str) -> str:
    """Returns a path or a name as text.

    Raises:
        InvalidOptionError: It is neither.
    """
    location = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(location, str) or not location:
        raise InvalidOptionError(f"{name} must be a path or a name; got {shown(value)}.")
    return location


def refuse_settings(**settings: object) -> None:
    """Refuses settings of a reranker beside a reranker that has its own.

    Raises:
        InvalidOptionError: One is given.
    """
    given = [name for name, value in settings.items() if value is not None and value is not UNSET]
    if given:
        raise InvalidOptionError(
            f"{' and '.join(given)} belong to the reranker, which was given ready-made.",
            hint="Give them to KaLMReranker(...).",
        )


def checked_seconds(value: object, name: str) -> float:
    """Returns a time to wait.

    Raises:
        InvalidOptionError: It is no number of seconds, 0 or more.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not float(value) >= 0:  # type: ignore[arg-type]
        raise InvalidOptionError(
            f"{name} must be a number of seconds, 0 or more; got {shown(value)}."
        )
    return float(value)  # type: ignore[arg-type]


def checked_ids(ids: str | Iterable[str]) -> list[str]:
    """Returns one id or several as a list.

    Raises:
        TextTypeError: Something else.
        InvalidTextError: One is no id.
    """
    if isinstance(ids, str):
        return [check_id(ids)]
    if not isinstance(ids, Iterable):
        raise TextTypeError(f"ids must be an id or a list of ids; got {type(ids).__name__}.")
    return [check_id(name, f"ids[{position}]") for position, name in enumerate(ids)]


def checked_scores(scores: Mapping[str, float]) -> dict[str, float]:
    """Returns first-stage scores as floats.

    Raises:
        InvalidOptionError: One is no finite number.
    """
    for name, score in scores.items():
        is_number = isinstance(score, Real) and not isinstance(score, bool)
        if not is_number or not math.isfinite(score):
            raise InvalidOptionError(
                f"the first-stage score of {shown(name)} must be a finite number; got {score!r}.",
                hint="Pass ids without scores, best first, if there are none.",
            )
    return {name: float(score) for name, score in scores.items()}


def checked_flag(value: object, name: str) -> bool:
    """Returns True or False.

    Raises:
        InvalidOptionError: It is neither.
    """
    if not isinstance(value, bool):
        raise InvalidOptionError(f"{name} must be True, False or None; got {value!r}.")
    return value
