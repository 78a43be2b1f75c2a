"""Checks on the settings of a reranker."""

import operator
from enum import Enum
from typing import Final, Literal, TypeAlias

from kalm_reranker.errors import InvalidOptionError


class Unset(Enum):
    """A parameter that was not given; None has a meaning of its own (no pooling)."""

    UNSET = "the checkpoint's own value"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET

# How a model is executed, and in how many bits its decoder's weights are kept.
EngineName: TypeAlias = Literal["auto", "eager", "fused", "compiled"]
QuantizationName: TypeAlias = Literal["int8"]

# What becomes of documents of more than `max_length` tokens.
LongDocuments: TypeAlias = Literal["truncate", "windows"]

# A compression ratio: tokens per slot, None for no pooling, or not given.
RatioOption: TypeAlias = int | Unset | None


def check_count(value: object, name: str, *, largest: int | None = None) -> int:
    """Returns `value` if it is a whole number of at least 1, and at most `largest`.

    Raises:
        InvalidOptionError: It is not.
    """
    count = whole_number(value)
    if count is None or count < 1 or (largest is not None and count > largest):
        allowed = "a positive integer" if largest is None else f"an integer from 1 to {largest}"
        raise InvalidOptionError(f"{name} must be {allowed}; got {value!r}.")
    return count


def check_bytes(value: object, name: str) -> int:
    """Returns `value` if it is a number of bytes: a whole number of at least 0.

    Raises:
        InvalidOptionError: It is not.
    """
    count = whole_number(value)
    if count is None or count < 0:
        raise InvalidOptionError(
            f"{name} must be a whole number of bytes, 0 or more; got {value!r}."
        )
    return count


def whole_number(value: object) -> int | None:
    """Returns an integer of any kind (numpy's, PyTorch's) as an int; None for anything else."""
    if "bool" in str(getattr(value, "dtype", type(value).__name__)):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None
