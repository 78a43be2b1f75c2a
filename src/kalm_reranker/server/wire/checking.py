"""A parsed JSON object against a model of a request; what is wrong with it, in words."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from kalm_reranker.server.request_errors import InvalidRequestError
from kalm_reranker.server.wire.brief import brief
from kalm_reranker.server.wire.fields import OWN_PROBLEM

_Request = TypeVar("_Request", bound=BaseModel)
# Names and indices from the body inwards.
Place: TypeAlias = tuple[int | str, ...]

# Of all requests: "3" is no integer, 1.0 is none, true is none; fields of other APIs may be there.
REQUEST_CONFIG: Final = ConfigDict(strict=True, extra="allow", frozen=True)

_WANTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "bool_type": "true or false",
    "float_type": "a number",
    "finite_number": "a finite number",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "none_required": "null",
}


def checked(model: type[_Request], body: Mapping[str, Any], place: Place = ()) -> _Request:
    """Returns a request, or a part of one, that is what `model` says.

    Args:
        model: What it must be.
        body: The object.
        place: Where it is, if it is a part.

    Raises:
        InvalidRequestError: It is not; the message tells of the first field that is wrong.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    raise _refusal(first, place)


def _refusal(error: ErrorDetails, place: Place) -> InvalidRequestError:
    hint = None
    if error["type"] == OWN_PROBLEM:
        words, hint = error["ctx"]["words"], error["ctx"]["hint"]
    else:
        words = _words(error)
    return refused((*place, *error["loc"]), words, hint)


def refused(place: Place, words: str, hint: str | None = None) -> InvalidRequestError:
    """Returns an error about the value at a place; `words` go on after its name."""
    return InvalidRequestError(f"{location(place)} {words}", param=dotted(place), hint=hint)


def dotted(parts: Place) -> str | None:
    """Returns the place of a value as programs read it, such as `documents.3.text`."""
    return ".".join(str(part) if isinstance(part, int) else _name(part) for part in parts) or None


def location(parts: Place) -> str:
    """Returns the place of a value, such as `documents[3].text`."""
    where = ""
    for part in parts:
        if isinstance(part, int):
            where += f"[{part}]"
        else:
            where += f".{_name(part)}" if where else _name(part)
    return where or "body"


def _name(part: str) -> str:
    # Keys of a request's own objects may be anything.
    return part if part.isprintable() and len(part) <= 80 else brief(part)


def _words(error: ErrorDetails) -> str:
    kind, got = error["type"], brief(error["input"])
    context = error.get("ctx", {})
    if kind == "missing":
        return f"is required; got {got}."
    if kind == "string_unicode":
        return f"must be text that can be written as UTF-8; got a lone surrogate in {got}."
    if kind in _WANTED:
        return f"must be {_WANTED[kind]}; got {got}."
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']}; got {got}."
    if kind == "less_than_equal":
        return f"must be at most {context['le']}; got {got}."
    if kind == "too_short":
        return f"must hold at least {context['min_length']}; got {got}."
    if kind == "literal_error":
        return f"must be {context['expected']}; got {got}."
    return f"is not usable: {error['msg'][:200]}; got {got}."
