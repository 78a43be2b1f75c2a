"""Conditions on the metadata of passages.

    {"lang": "en", "year": {"$gte": 2020}, "tag": ["a", "b"]}

All fields must match. A value is matched by equality; a list by any of its members; an object by
all of its operators. A field that is absent matches nothing but `$exists: False`, `$ne` and `$nin`.
A field that holds a list matches where one of its members does. Order compares numbers with
numbers and text with text; text that reads as a number counts as one beside a number, since all
fields of TSV and CSV files are text.
"""

import math
import operator
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeAlias

from kalm_reranker.errors import InvalidOptionError, shown

# Metadata of a passage -> whether it may be a result.
Predicate: TypeAlias = Callable[[Mapping[str, Any]], bool]
MetadataFilter: TypeAlias = Mapping[str, Any] | Predicate

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_OPERATORS = (*_ORDER, "$eq", "$ne", "$in", "$nin", "$exists")


def predicate_of(given: MetadataFilter) -> Predicate:
    """Returns a filter as a function of metadata.

    Raises:
        InvalidOptionError: It is neither a mapping with string keys nor callable, or names an
            unknown operator.
    """
    if callable(given):
        return given
    if not isinstance(given, Mapping) or not all(isinstance(field, str) for field in given):
        raise InvalidOptionError(
            f"filter must be a mapping of metadata fields to conditions, or a function; "
            f"got {shown(given)}.",
            hint='For example {"lang": "en", "year": {"$gte": 2020}}.',
        )
    conditions = {field: _condition(field, value) for field, value in given.items()}

    def matches(metadata: Mapping[str, Any]) -> bool:
        return all(
            condition(field in metadata, metadata.get(field))
            for field, condition in conditions.items()
        )

    return matches


_Condition: TypeAlias = Callable[[bool, Any], bool]  # (is the field there, its value)


def _condition(field: str, wanted: Any) -> _Condition:  # noqa: ANN401 - any JSON value
    if isinstance(wanted, Mapping):
        if not wanted:
            raise InvalidOptionError(
                f"filter: the condition on {field!r} has no operator; allowed: "
                f"{', '.join(_OPERATORS)}."
            )
        parts = [_operator(field, name, value) for name, value in wanted.items()]
        return lambda present, value: all(part(present, value) for part in parts)
    if isinstance(wanted, list | tuple | set | frozenset):
        return _operator(field, "$in", wanted)
    return _operator(field, "$eq", wanted)


def _operator(field: str, name: object, wanted: Any) -> _Condition:  # noqa: ANN401
    if name in _ORDER:
        if not isinstance(wanted, str) and not _is_number(wanted):
            raise InvalidOptionError(
                f"filter: {name} of {field!r} must be a number or text; got {shown(wanted)}."
            )
        compare = _ORDER[str(name)]
        return lambda present, value: (
            present and _any(value, lambda member: _ordered(compare, member, wanted))
        )
    if name == "$exists":
        return lambda present, value: present is bool(wanted)
    if name in ("$eq", "$ne"):
        return _equality([wanted], negated=name == "$ne")
    if name in ("$in", "$nin"):
        if not isinstance(wanted, list | tuple | set | frozenset):
            raise InvalidOptionError(
                f"filter: {name} of {field!r} must be a list of values; got {shown(wanted)}."
            )
        return _equality(list(wanted), negated=name == "$nin")
    raise InvalidOptionError(
        f"filter: unknown operator {shown(name)} for {field!r}; allowed: {', '.join(_OPERATORS)}.",
        hint="To compare with an object, pass a function of the metadata instead.",
    )


def _equality(wanted: list[Any], *, negated: bool) -> _Condition:
    keys, rest = set(), []
    for value in wanted:
        try:
            keys.add(_key(value))
        except TypeError:  # of a type that JSON has not, and that has no hash
            rest.append(value)

    # Lists of thousands of values are looked up, not read: others wait meanwhile.
    def is_wanted(value: Any) -> bool:  # noqa: ANN401
        return _key(value) in keys or any(value == one for one in rest)

    def found(present: bool, value: Any) -> bool:  # noqa: ANN401
        return present and _any(value, is_wanted)

    return (lambda present, value: not found(present, value)) if negated else found


def _key(value: Any) -> Hashable:  # noqa: ANN401
    """Returns something hashable that is equal for equal values.

    True is 1 to Python, but not to who wrote the metadata.
    """
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, list):
        return "list", tuple(_key(member) for member in value)
    if isinstance(value, dict):
        return "object", frozenset((name, _key(member)) for name, member in value.items())
    hash(value)
    return "value", value


def _any(value: Any, test: Callable[[Any], bool]) -> bool:  # noqa: ANN401
    return test(value) or (isinstance(value, list) and any(test(member) for member in value))


def _ordered(compare: Callable[[Any, Any], bool], value: Any, wanted: Any) -> bool:  # noqa: ANN401
    """Compares numbers with numbers and text with text; anything else matches nothing."""
    if _is_number(wanted) and isinstance(value, str):
        value = _number(value)
    both_text = isinstance(value, str) and isinstance(wanted, str)
    return (both_text or (_is_number(value) and _is_number(wanted))) and compare(value, wanted)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None  # "Infinity" is a word
