"""A passage as it is handed to a store: id, text, metadata, all checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kalm_reranker.encoding.texts import check_text
from kalm_reranker.errors import InputError, InvalidTextError, TextTypeError, shown

# SQLite and tantivy take more; no real id comes near it.
MAX_ID_BYTES = 32_768
# What can be written here must be readable from anywhere, also from deep inside a program.
_MOST_LEVELS = 100


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage to store.

    Args:
        id: Its name, a non-empty string of at most 32,768 bytes in UTF-8; any characters.
        text: What the encoder reads, title included; may be empty.
        metadata: A JSON object to keep beside it, or None.
    """

    id: str
    text: str
    metadata: Mapping[str, Any] | None = None


def check_passage(passage: Passage, what: str) -> Passage:
    """Returns the passage if a store can keep it.

    Args:
        passage: The passage.
        what: How messages name it, such as "passages[3]".

    Raises:
        TextTypeError: The id or the text is no string.
        InvalidTextError: A lone surrogate, an empty id, or one that is too long.
        InputError: The metadata cannot be written as a JSON object.
    """
    check_id(passage.id, f"{what} id")
    check_text(passage.text, f"{what} text")
    metadata_json(passage.metadata, what)
    return passage


def check_id(value: object, what: str = "id") -> str:
    """Returns `value` if it can name a passage.

    Raises:
        TextTypeError: It is no string.
        InvalidTextError: It is empty, too long, or holds a lone surrogate.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        raise TextTypeError(
            f"{what} must be a string; got the number {value}.",
            hint=f'Write it as text: "{value}".',
        )
    name = check_text(value, what)
    if not name:
        raise InvalidTextError(f"{what} must hold at least one character; got ''.")
    size = len(name.encode("utf-8"))
    if size > MAX_ID_BYTES:
        raise InvalidTextError(
            f"{what} must have at most {MAX_ID_BYTES:,} bytes; got {size:,} ({shown(name)}).",
            hint="Use a hash of it as the id, and keep the long name in the metadata.",
        )
    return name


def metadata_json(metadata: Mapping[str, Any] | None, what: str) -> str | None:
    """Returns metadata as JSON with sorted keys; None where there is none.

    Raises:
        InputError: It is no mapping with string keys, or holds what JSON cannot write.
    """
    if metadata is None or (isinstance(metadata, Mapping) and not metadata):
        return None
    if not isinstance(metadata, Mapping) or not all(isinstance(key, str) for key in metadata):
        raise InputError(
            f"{what} metadata must be a mapping with string keys; got {shown(metadata)}."
        )
    try:
        text = json.dumps(
            dict(metadata),
            ensure_ascii=False,
            allow_nan=False,
            sort_keys=True,
            separators=(",", ":"),
        )
        text.encode("utf-8")
        _check_depth(metadata)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{what} metadata must be values that JSON can write; {error}.",
            hint="Use strings, numbers, booleans, None, lists and objects.",
        ) from error
    return text


def _check_depth(value: object, level: int = 1) -> None:
    if level > _MOST_LEVELS:
        raise ValueError(f"they are nested more than {_MOST_LEVELS} levels deep")
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            _check_depth(item, level + 1)
