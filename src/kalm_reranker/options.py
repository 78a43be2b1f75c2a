"""Checks on the settings of a reranker."""

from enum import Enum
from typing import Final, TypeAlias

from kalm_reranker.errors import InvalidOptionError


class Unset(Enum):
    """A parameter that was not given; None has a meaning of its own (no pooling)."""

    UNSET = "the checkpoint's own value"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET

# A compression ratio: tokens per slot, None for no pooling, or not given.
RatioOption: TypeAlias = int | Unset | None


def check_count(value: object, name: str, *, largest: int | None = None) -> int:
    """Returns `value` if it is a whole number of at least 1, and at most `largest`.

    Raises:
        InvalidOptionError: It is not.
    """
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not fits or (largest is not None and value > largest):  # type: ignore[operator]
        allowed = "a positive integer" if largest is None else f"an integer from 1 to {largest}"
        raise InvalidOptionError(f"{name} must be {allowed}; got {value!r}.")
    return value  # type: ignore[return-value]
