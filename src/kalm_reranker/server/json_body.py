"""Bytes of a request -> JSON, without what Python's parser lets pass.

JSON is refused if it is not UTF-8, starts with a byte order mark, says one key twice, holds NaN,
Infinity, numbers that are infinite as floats or thousands of digits long, escapes of half a
character, or is nested deeper or made of more values than any real request. The last two are
counted before a single value is made: `[[],[],...]` takes twenty times its size in memory.
"""

import json
import math
import re
from typing import Any, TypeAlias

from kalm_reranker.errors import shown
from kalm_reranker.server.request_errors import InvalidRequestError

JsonObject: TypeAlias = dict[str, Any]
JsonValue: TypeAlias = dict[str, Any] | list[Any] | str | int | float | bool | None

MAX_DEPTH = 32  # requests need 3 or 4, metadata a few more
MAX_VALUES = 200_000  # about 25 MB as Python objects, whatever they are
_MAX_DIGITS = 400  # more than any float's exact decimal form of sensible size has

_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
# A string as a whole, or what opens, closes or continues a container. A string that never ends is
# taken whole as well, or the search would begin again at each of its escaped quotes.
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{\]},]', re.DOTALL)
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(body: bytes, *, max_values: int = MAX_VALUES) -> JsonObject:
    """Returns the JSON object that a body holds.

    Args:
        body: Of a request.
        max_values: Members and elements it may have in all.

    Raises:
        InvalidRequestError: It holds anything else.
    """
    if not body.strip():
        raise _refused("the body is empty; a JSON object is expected.")
    if body.startswith(_BYTE_ORDER_MARKS):
        raise _refused("the body starts with a byte order mark; JSON is UTF-8 without one.")
    _check_structure(body, max_values)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused(f"the body is not UTF-8: byte {error.start} cannot be decoded.") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object_of_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_short_int,
        )
    except json.JSONDecodeError as error:
        raise _refused(
            f"the body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:  # not reached at MAX_DEPTH, unless the caller is deep in the stack
        raise _too_deep() from None
    if not isinstance(value, dict):
        raise _refused(f"the body must be a JSON object; got {_kind(value)}.")
    if _SURROGATE_ESCAPE.search(body):
        _check_characters(value)
    return value


def _check_structure(body: bytes, max_values: int) -> None:
    depth = values = 0
    for token in _STRUCTURE.finditer(body):
        first = body[token.start()]
        if first == 0x22:  # a string, with whatever is in it
            continue
        if first in b"[{":
            depth += 1
            values += 1
            if depth > MAX_DEPTH:
                raise _too_deep()
        elif first in b"]}":
            depth -= 1
        else:
            values += 1
        if values > max_values:
            raise _refused(f"the body must hold at most {max_values:,} JSON values; it has more.")


def _too_deep() -> InvalidRequestError:
    return _refused(f"JSON may be nested {MAX_DEPTH} levels deep; this is nested deeper.")


def _object_of_unique_keys(pairs: list[tuple[str, Any]]) -> JsonObject:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _refused(f"the key {shown(key)} is in the same JSON object twice.")
            seen.add(key)
    return result


def _refuse_constant(name: str) -> None:
    raise _refused(f"JSON has no {name}; numbers must be finite.")


def _finite_float(text: str) -> float:
    _check_digits(text)
    value = float(text)
    if not math.isfinite(value):
        raise _refused(f"the number {shown(text)} is too large for a 64-bit float.")
    return value


def _short_int(text: str) -> int:
    _check_digits(text)
    return int(text)


def _check_digits(text: str) -> None:
    if len(text) > _MAX_DIGITS:
        raise _refused(
            f"numbers may have {_MAX_DIGITS} characters; got one of {len(text):,}: {text[:20]}..."
        )


def _check_characters(value: JsonObject) -> None:
    """Refuses halves of surrogate pairs, which are no characters: nothing could send them back."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _refused(
            "the body has an escape \\uD800 to \\uDFFF that is only half of a character."
        ) from None


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "an array"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    return "a string" if isinstance(value, str) else "a number"


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, code="invalid_json")
