"""Types of request fields: what Python checks and what JSON Schema says of it, side by side."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from kalm_reranker.server.wire.brief import brief
from kalm_reranker.store.passage import MAX_ID_BYTES

# Up to here JSON numbers mean the same to all programs (RFC 8259); it is more than there is of
# anything.
LARGEST_INTEGER: Final = 2**53 - 1
# No model reads more tokens than that, so a coarser ratio means nothing.
LARGEST_RATIO: Final = 2**20

NO_NUL_PATTERN: Final = r"^[^\u0000]*$"
SOME_TEXT_PATTERN: Final = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"

# Error type of problems found here; `checking` puts the name of the field before the words.
OWN_PROBLEM: Final = "own_problem"


def problem(words: str, hint: str | None = None) -> PydanticCustomError:
    """Returns an error for pydantic to collect; `words` go on after the name of the field."""
    return PydanticCustomError(OWN_PROBLEM, "{words}", {"words": words, "hint": hint})


def text_problem(text: str) -> str | None:
    """Returns what makes a string unusable as text, or None."""
    if "\0" in text:
        return f"must not hold NUL characters; got one at position {text.index(chr(0))}."
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            return (
                f"must be text that can be written as UTF-8; got a lone surrogate "
                f"{text[error.start]!a} at position {error.start}."
            )
    return None


def id_problem(name: str) -> str | None:
    """Returns what makes a string unusable as the id of a passage, or None."""
    words = text_problem(name)
    if words is None and not name:
        words = "must hold at least one character; got ''."
    if words is None and len(name.encode("utf-8")) > MAX_ID_BYTES:
        words = f"must have at most {MAX_ID_BYTES:,} bytes; got {len(name.encode('utf-8')):,}."
    return words


def integer(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Returns 3.0 as 3, which to JSON Schema is the same, and anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(text: str) -> str:
    if words := text_problem(text):
        raise problem(words)
    return text


def _some_text(text: str) -> str:
    if not _text(text).strip():
        raise problem(f"must hold some text besides white space; got {brief(text)}.")
    return text


def _passage_id(name: str) -> str:
    if words := id_problem(name):
        raise problem(words)
    return name


def _ratio(value: Any) -> int | Literal["none"]:  # noqa: ANN401
    value = integer(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value == "none" or (whole and 1 <= value <= LARGEST_RATIO):
        return value  # type: ignore[no-any-return]
    raise problem(
        f'must be an integer from 1 to {LARGEST_RATIO:,}, "none" or null; got {brief(value)}.',
        hint='"none" keeps a state per token; null or no field at all leaves it to the server.',
    )


def _right(value: Any) -> str:  # noqa: ANN401
    if value in ("right", "Right"):
        return "right"
    raise problem(
        f'must be "right" or null; got {brief(value)}.',
        hint="Texts are always cut at their end here; send the part that matters first.",
    )


_TEXT_SCHEMA = {"type": "string", "pattern": NO_NUL_PATTERN}
QUERY_SCHEMA: Final = {"type": "string", "minLength": 1, "pattern": SOME_TEXT_PATTERN}
ID_SCHEMA: Final = {**_TEXT_SCHEMA, "minLength": 1}
TEXT_SCHEMA: Final = _TEXT_SCHEMA
NAME_SCHEMA: Final = {**_TEXT_SCHEMA, "minLength": 1}

Text = Annotated[str, AfterValidator(_text), WithJsonSchema(_TEXT_SCHEMA)]
Query = Annotated[str, AfterValidator(_some_text), WithJsonSchema(QUERY_SCHEMA)]
PassageId = Annotated[str, AfterValidator(_passage_id), WithJsonSchema(ID_SCHEMA)]
# Bounds stand before the conversion, or JSON Schema would not have them.
Count = Annotated[int, Field(ge=0, le=LARGEST_INTEGER), BeforeValidator(integer)]
Wanted = Annotated[int, Field(ge=1, le=LARGEST_INTEGER), BeforeValidator(integer)]
TokenLimit = Annotated[int, Field(ge=-1, le=LARGEST_INTEGER), BeforeValidator(integer)]
Ratio = Annotated[
    int | Literal["none"],
    PlainValidator(_ratio),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": LARGEST_RATIO},
                {"const": "none"},
            ]
        }
    ),
]
Side = Annotated[str, BeforeValidator(_right), WithJsonSchema({"enum": ["right", "Right"]})]
