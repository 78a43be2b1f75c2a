"""Values of a request as messages show them: in JSON's words, and never long."""

from itertools import islice

_MOST_CHARACTERS = 80
_MOST_KEYS = 5


def brief(value: object) -> str:
    """Returns a JSON value in at most about 80 characters, all of which can be written as UTF-8."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _cut(repr(value[: _MOST_CHARACTERS + 1]))
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    if isinstance(value, dict):
        keys = ", ".join(repr(str(key)[:_MOST_CHARACTERS]) for key in islice(value, _MOST_KEYS))
        more = ", ..." if len(value) > _MOST_KEYS else ""
        return _cut(f"an object with {keys}{more}") if value else "an empty object"
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."
