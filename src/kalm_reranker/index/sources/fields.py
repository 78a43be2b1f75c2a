"""Named fields to a passage: what is the id, the text and the title, and what is metadata."""

from collections.abc import Mapping, Sequence
from typing import Any

from kalm_reranker.errors import DataFileError, InputError, shown
from kalm_reranker.store.passage import Passage, check_passage

# In this order: of a record with two of them, the first is the id.
ID_FIELDS = ("id", "_id", "docid", "doc_id", "pid")


def passage_from_fields(
    fields: Mapping[str, Any], where: str, *, id_fields: Sequence[str] = ID_FIELDS
) -> Passage:
    """Returns the passage that a record describes.

    Its text is title, space and text without surrounding white space, as in judged collections.
    The title and all fields without a meaning of their own become metadata; what the field
    `metadata` says goes before them.

    Args:
        fields: The record: an id, `text`, and perhaps `title`, `metadata` (an object), others.
        where: File and line, for messages.
        id_fields: What the id may be called.

    Raises:
        DataFileError: A field is missing, is not what it should be, or cannot be stored.
    """
    id_field = _id_field(fields, where, id_fields)
    title = _title(fields, where).strip()
    metadata = {
        name: value
        for name, value in fields.items()
        if name not in (id_field, "title", "text", "metadata")
    }
    if title:
        metadata["title"] = title
    metadata |= _metadata(fields, where)
    passage = Passage(
        id=_id(fields, id_field, where),
        text=f"{title} {_text(fields, where)}".strip(),
        metadata=metadata or None,
    )
    return storable(passage, where)


def storable(passage: Passage, where: str) -> Passage:
    """Returns the passage if a store can keep it.

    Raises:
        DataFileError: It cannot.
    """
    try:
        return check_passage(passage, f"{where}:")
    except InputError as error:
        raise DataFileError(error.message, hint=error.hint) from error


def _id_field(fields: Mapping[str, Any], where: str, id_fields: Sequence[str]) -> str:
    for field in id_fields:
        if fields.get(field) is not None:
            return field
    first, *others = (f'"{field}"' for field in id_fields)
    allowed = f"{first} (or {', '.join(others)})" if others else first
    raise DataFileError(
        f"{where}: expected an id in {allowed}; got the fields {shown(sorted(fields))}.",
        hint=f'Give each passage an id of its own: {{{first}: "1", "text": "..."}}.',
    )


def _id(fields: Mapping[str, Any], field: str, where: str) -> str:
    value = fields[field]
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataFileError(
        f'{where}: expected a string or an integer in "{field}"; got {shown(value)}.',
        hint="Write the id as text, in quotation marks.",
    )


def _text(fields: Mapping[str, Any], where: str) -> str:
    value = fields.get("text")
    if not isinstance(value, str):
        got = shown(value) if "text" in fields else "no such field"
        raise DataFileError(
            f'{where}: expected a string in "text"; got {got}.',
            hint='A passage without text is written with "text": "".',
        )
    return value


def _title(fields: Mapping[str, Any], where: str) -> str:
    value = fields.get("title")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataFileError(
            f'{where}: expected a string or null in "title"; got {shown(value)}.',
            hint="Leave the title out where there is none.",
        )
    return value


def _metadata(fields: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    value = fields.get("metadata")
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise DataFileError(
            f'{where}: expected an object in "metadata"; got {shown(value)}.',
            hint='Write "metadata": {"name": "value"}, or give the field another name.',
        )
    return value
