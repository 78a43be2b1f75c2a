"""Bodies of requests: JSON, and how much of a long list goes into one."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kalm_reranker.errors import InputError, InvalidRatioError
from kalm_reranker.options import RatioOption, Unset, whole_number

# Whatever stands around a list and is not counted.
_MARGIN_BYTES = 256


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What a server takes in one request; the defaults are those of `kalm serve`.

    Attributes:
        max_documents: Documents, pairs or passages.
        max_body_bytes: Bytes of the body.
    """

    max_documents: int = 1_000
    max_body_bytes: int = 16 * 2**20


def as_json(value: object) -> bytes:
    """Returns a value as JSON in UTF-8.

    Raises:
        InputError: JSON cannot hold it.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"A request cannot hold this in JSON: {error}.") from error


def body_of(fields: dict[str, Any], name: str, items: Iterable[bytes]) -> bytes:
    """Returns an object of `fields` and, as `name`, a list of values that are JSON already."""
    listed = b",".join(items)
    inner = as_json(given(fields))[1:-1]
    return b'{"%s":[%s]%s%s}' % (name.encode(), listed, b"," if inner else b"", inner)


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields that say something: neither None nor UNSET."""
    return {
        name: value
        for name, value in fields.items()
        if value is not None and not isinstance(value, Unset)
    }


def ratio_on_wire(ratio: RatioOption) -> int | None:
    """Returns a compression ratio as requests hold it: None if not given, 1 for no pooling.

    Raises:
        InvalidRatioError: It is neither a positive integer, None nor UNSET.
    """
    if isinstance(ratio, Unset):
        return None
    if ratio is None:
        return 1
    tokens = whole_number(ratio)
    if tokens is None or tokens < 1:
        raise InvalidRatioError(
            f"compression_ratio must be a positive integer or None; got {ratio!r}."
        )
    return tokens


def end_of_part(items: Sequence[bytes], start: int, limits: RequestLimits, around: int) -> int:
    """Returns where to end a part that begins at `start`: it holds one item at least.

    Args:
        items: Values as JSON.
        start: Index of the part's first.
        limits: Of one request.
        around: Bytes of the body besides the items.
    """
    room = limits.max_body_bytes - around - _MARGIN_BYTES
    end = start
    while end < len(items) and end - start < limits.max_documents:
        room -= len(items[end]) + 1
        if room < 0:
            break
        end += 1
    return max(end, start + 1)
