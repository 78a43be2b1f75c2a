"""Answers of a server, checked field by field."""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from kalm_reranker.client.steps import Call, Reply
from kalm_reranker.errors import ClientError, shown

T = TypeVar("T")


class Answer:
    """An object of an answer.

    Args:
        values: Its fields.
        where: How messages name it.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self._where = where

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def number(self, name: str) -> float:
        """Returns a finite number."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(name, "a number")
        if not math.isfinite(value):
            raise self.error(name, "a finite number")
        return float(value)

    def optional_number(self, name: str) -> float | None:
        """Returns a finite number; None, if there is none."""
        return self.number(name) if name in self else None

    def count(self, name: str) -> int:
        """Returns a whole number, 0 or more."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.error(name, "a whole number")
        return value

    def index(self, name: str, length: int) -> int:
        """Returns a position in a list of this length."""
        value = self.count(name)
        if value >= length:
            raise self.error(name, f"below {length}, the number that was sent")
        return value

    def text(self, name: str) -> str:
        """Returns a string."""
        return self._of_type(name, str, "a string")

    def objects(self, name: str) -> "list[Answer]":
        """Returns a list of objects."""
        values = self._of_type(name, list, "a list")
        if not all(isinstance(value, dict) for value in values):
            raise self.error(name, "a list of objects")
        return [
            Answer(value, f"{self._where}.{name}[{position}]")
            for position, value in enumerate(values)
        ]

    def object(self, name: str) -> "Answer":
        """Returns an object; an empty one, if there is none."""
        if name not in self:
            return Answer({}, f"{self._where}.{name}")
        return Answer(self._of_type(name, dict, "an object"), f"{self._where}.{name}")

    def texts(self, name: str) -> tuple[str, ...]:
        """Returns a list of strings; an empty one, if there is none."""
        return tuple(self._list_of(name, str)) if name in self else ()

    def counts(self, name: str) -> tuple[int, ...]:
        """Returns a list of whole numbers; an empty one, if there is none."""
        return tuple(self._list_of(name, int)) if name in self else ()

    def error(self, name: str, expected: str) -> ClientError:
        """Returns the error for a field that is not as it should be."""
        got = shown(self.values[name]) if name in self.values else "nothing"
        return ClientError(
            f"{self._where} should have {name!r}, {expected}; got {got}.",
            hint="Is there a `kalm serve` of this version at base_url?",
        )

    def _list_of(self, name: str, kind: type[T]) -> list[T]:
        values = self._of_type(name, list, "a list")
        if not all(isinstance(value, kind) for value in values):
            raise self.error(name, f"a list of {kind.__name__}")
        return values

    def _of_type(self, name: str, kind: type[T], expected: str) -> T:
        value = self.values.get(name)
        if not isinstance(value, kind):
            raise self.error(name, expected)
        return value


def answer_in(reply: Reply, call: Call) -> Answer:
    """Returns the object that an answer is.

    Raises:
        ClientError: It is none.
    """
    try:
        value = json.loads(reply.body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise not_json(reply, call)
    return Answer(value, f"The answer to {call}")


def not_json(reply: Reply, call: Call) -> ClientError:
    """Returns the error for an answer that is not JSON, or no object."""
    start = reply.body[:80].decode("utf-8", "replace")
    return ClientError(
        f"The answer to {call} should be a JSON object; it has {len(reply.body):,} bytes and "
        f"begins {start!r}.",
        hint="Is there a `kalm serve` at base_url?",
    )
