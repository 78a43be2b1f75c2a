"""Options of `kalm search` whose text has a meaning of its own: cascades and filters."""

import json
import re
from typing import Any

from kalm_reranker.checkpoints.settings import CascadeSettings
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.options import UNSET, Unset

_CASCADE = re.compile(r"(\d+)(?::(\d+))?:(\d+)")
_CONDITION = re.compile(r"([^=!<>]+)(=|!=|>=|<=|>|<)(.*)", re.DOTALL)
_OPERATORS = {"=": "$in", "!=": "$nin", ">=": "$gte", "<=": "$lte", ">": "$gt", "<": "$lt"}


def cascade_from_text(text: str | None) -> CascadeSettings | Unset | None:
    """Reads COARSE:COUNT, COARSE:FINE:COUNT, or "none".

    Raises:
        InvalidOptionError: It is none of these.
    """
    if text is None:
        return UNSET
    if text.lower() == "none":
        return None
    found = _CASCADE.fullmatch(text)
    if found is None:
        raise InvalidOptionError(
            f"--cascade must be COARSE:COUNT, COARSE:FINE:COUNT or none; got {text!r}.",
            hint="32:20 scores all candidates at ratio 32, and the best 20 at the index's own.",
        )
    coarse, fine, count = found.groups()
    return CascadeSettings(
        coarse_ratio=int(coarse),
        fine_ratio=None if fine is None else int(fine),
        fine_count=int(count),
    )


def filter_from_texts(texts: list[str]) -> dict[str, Any] | None:
    """Reads conditions such as lang=en, year>=2020 or tag=a,b; None where there are none.

    A value is read as JSON where it is JSON (numbers, true, "quoted, text"), else as text. With =
    and !=, commas separate alternatives; a number matches the same number as text, too.

    Raises:
        InvalidOptionError: A condition is of another form.
    """
    conditions: dict[str, dict[str, Any]] = {}
    for text in texts:
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise InvalidOptionError(
                f"--filter must be FIELD=VALUE, with =, !=, >=, <=, > or <; got {text!r}."
            )
        field, sign, value = found.groups()
        operator = _OPERATORS[sign]
        known = conditions.setdefault(field.strip(), {})
        if operator in known:
            raise InvalidOptionError(
                f"--filter: {field.strip()!r} has two conditions with {sign}.",
                hint="Alternatives are written with commas: tag=a,b.",
            )
        known[operator] = (
            [alternative for part in _parts(value) for alternative in part]
            if operator in ("$in", "$nin")
            else _parts(value, split=False)[0][0]
        )
    return conditions or None


def _parts(text: str, *, split: bool = True) -> list[list[Any]]:
    """Returns what each alternative can mean: the JSON value, and the text as it stands."""
    quoted = text.startswith('"')
    parts = text.split(",") if split and not quoted else [text]
    return [_meanings(part.strip()) for part in parts]


def _meanings(text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return [text]
    return [value] if isinstance(value, str) else [value, text]
