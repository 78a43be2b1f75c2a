"""Values of a column store as values that JSON can write."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from kalm_reranker.errors import DataFileError


def json_value(value: object, where: str) -> object:
    """Returns a value as JSON can write it; where JSON has no such kind, as text.

    Dates and times become ISO 8601; durations, decimals and UUIDs become what `str` makes of them
    (a float would round a decimal); maps become objects. Nulls in objects are left out, those in
    lists stay, since the others would move.

    Args:
        value: What a column holds.
        where: File, row and column, for messages.

    Raises:
        DataFileError: It is binary, or of another kind that has no plain form.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID | timedelta):
        return str(value)
    if isinstance(value, dict):
        return _object(list(value.items()), where)
    if isinstance(value, list):
        # An entry of a map is a tuple; nothing else is.
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return _object(value, where)
        return [json_value(item, where) for item in value]
    raise DataFileError(
        f"{where}: expected a value that JSON can write; got {type(value).__name__}.",
        hint="Drop the column, or convert it to text first.",
    )


def _object(entries: list[tuple[object, object]], where: str) -> dict[str, object]:
    values = {}
    for key, value in entries:
        if not isinstance(key, str):
            raise DataFileError(
                f"{where}: expected a map with text as keys; got {type(key).__name__}.",
                hint="Drop the column, or convert its keys to text first.",
            )
        if value is not None:
            values[key] = json_value(value, where)
    return values
