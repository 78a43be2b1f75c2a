"""Documents of a request: plain text, objects with text, ids of stored passages, named fields."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kalm_reranker.errors import RequestTooLargeError
from kalm_reranker.server.calls import DocumentInput
from kalm_reranker.server.wire.brief import brief
from kalm_reranker.server.wire.checking import Place, refused
from kalm_reranker.server.wire.fields import ID_SCHEMA, TEXT_SCHEMA, id_problem, text_problem

TEXT_OBJECT_SCHEMA: Final = {
    "type": "object",
    "title": "Text",
    "description": "A text; `id`, if there is one, comes back as a label.",
    "required": ["text"],
    "properties": {"text": TEXT_SCHEMA},
}
ID_OBJECT_SCHEMA: Final = {
    "type": "object",
    "title": "Stored passage",
    "description": "A passage of the server's index, scored from its stored states.",
    "required": ["id"],
    "properties": {"id": ID_SCHEMA, "text": {"type": "null"}},
}
ANY_OBJECT_SCHEMA: Final = {
    "type": "object",
    "title": "Fields",
    "description": "An object with fields that rank_fields names.",
    "properties": {
        "id": {"anyOf": [ID_SCHEMA, {"type": "null"}]},
        "text": {"anyOf": [TEXT_SCHEMA, {"type": "null"}]},
    },
}
DOCUMENT_SCHEMA: Final = {"anyOf": [TEXT_SCHEMA, TEXT_OBJECT_SCHEMA, ID_OBJECT_SCHEMA]}


@dataclass(frozen=True, slots=True)
class GivenDocument:
    """A document as a request gave it.

    Attributes:
        text: Its text; None for a stored passage.
        label: Its id: of a stored passage, or the caller's own name for a text.
        bare: Whether `rank_fields` named nothing in it, so that it is scored as an empty text.
    """

    text: str | None
    label: str | int | None = None
    bare: bool = False

    @property
    def input(self) -> DocumentInput:
        """What the service is asked to score."""
        if self.text is None:
            return DocumentInput(id=str(self.label))
        return DocumentInput(text=self.text)


def check_number(given: int, allowed: int, what: str = "documents") -> None:
    """Checks the size of a request before its parts are looked at.

    Raises:
        RequestTooLargeError: It has more documents, pairs, ... than the server takes at once.
    """
    if given > allowed:
        raise RequestTooLargeError(
            f"at most {allowed:,} {what} can be sent at once; got {given:,}.",
            hint="Send them in several requests: scores do not depend on what else is sent.",
        )


def read_documents(
    items: Sequence[Any], place: Place = ("documents",), rank_fields: Sequence[str] = ()
) -> tuple[GivenDocument, ...]:
    """Returns the documents of a list.

    Args:
        items: The list, as it was in the request.
        place: Where it was, for messages.
        rank_fields: Fields of objects that make up their text, joined by line breaks.

    Raises:
        InvalidRequestError: One is no string and no object with text, id or one of the fields.
    """
    return tuple(
        read_document(item, (*place, index), rank_fields) for index, item in enumerate(items)
    )


def read_document(item: object, place: Place, rank_fields: Sequence[str] = ()) -> GivenDocument:
    """Returns one document; see `read_documents`."""
    if isinstance(item, str):
        return GivenDocument(checked_text(item, place))
    if not isinstance(item, dict):
        raise refused(
            place,
            f"must be a string, or an object with text or id; got {brief(item)}.",
            "This model reads text only.",
        )
    if rank_fields:
        return _from_fields(item, place, rank_fields)
    if item.get("text") is not None:
        text = checked_text(item["text"], (*place, "text"))
        return GivenDocument(text, _label(item.get("id"), place))
    if item.get("id") is not None:
        return GivenDocument(None, _checked_id(item["id"], (*place, "id")))
    raise refused(
        place,
        f"must be a string, or an object with text or id; got {brief(item)}.",
        "Name the fields that make up its text in rank_fields, or join them yourself.",
    )


def checked_text(value: object, place: Place) -> str:
    """Returns a value as text.

    Raises:
        InvalidRequestError: It is no string, or none that can be read.
    """
    if not isinstance(value, str):
        raise refused(place, f"must be a string; got {brief(value)}.")
    if words := text_problem(value):
        raise refused(place, words)
    return value


def _checked_id(value: object, place: Place) -> str:
    if not isinstance(value, str):
        raise refused(
            place,
            f"must be a string; got {brief(value)}.",
            "Ids of stored passages are strings; a document with a text may have any label.",
        )
    if words := id_problem(value):
        raise refused(place, words)
    return value


def _label(value: object, place: Place) -> str | int | None:
    """A caller's own name for a text, to be handed back; what is no name is left out."""
    if isinstance(value, str):
        return checked_text(value, (*place, "id"))
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return None


def _from_fields(item: dict[str, Any], place: Place, rank_fields: Sequence[str]) -> GivenDocument:
    named = [(name, item[name]) for name in rank_fields if item.get(name) is not None]
    if not named and (item.get("text") is not None or item.get("id") is not None):
        return read_document(item, place)
    texts = [
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for _, value in named
    ]
    for (name, _), text in zip(named, texts, strict=True):
        checked_text(text, (*place, name))
    return GivenDocument("\n".join(texts), _label(item.get("id"), place), bare=not named)
