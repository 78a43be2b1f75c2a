"""Documents of a request: texts, and passages that the server's index holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from kalm_reranker.encoding.texts import check_text
from kalm_reranker.errors import InvalidTextError, TextTypeError, shown


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage of the server's index.

    As a document of a request its id is enough: the server scores what it has stored.

    Args:
        id: Its name.
        text: From `get`: the text, empty where the index keeps none.
        metadata: As it was added; None where there is none.
    """

    id: str
    text: str | None = None
    metadata: Mapping[str, Any] | None = None


# A mapping has a "text", or the "id" of a stored passage.
Document: TypeAlias = str | StoredPassage | Mapping[str, Any]


def checked_documents(documents: object) -> list[str | StoredPassage]:
    """Returns documents as texts and stored passages.

    Raises:
        TextTypeError: Not a list of documents.
        InvalidTextError: A text cannot be written as UTF-8, or an id is empty.
    """
    if isinstance(documents, str | StoredPassage) or not isinstance(documents, Sequence):
        raise TextTypeError(
            f"documents must be a list; got {type(documents).__name__}.",
            hint="Put a single document into a list: [document]."
            if isinstance(documents, str | StoredPassage)
            else "Pass list(documents).",
        )
    return [checked_document(one, f"documents[{index}]") for index, one in enumerate(documents)]


def checked_document(document: object, what: str) -> str | StoredPassage:
    """Returns a document as its text, or as a stored passage.

    Args:
        document: The document.
        what: How messages name it.

    Raises:
        TextTypeError: It is none.
        InvalidTextError: Its text cannot be written as UTF-8, or its id is empty.
    """
    if isinstance(document, StoredPassage):
        return StoredPassage(checked_id(document.id, f"{what} id"))
    if isinstance(document, Mapping):
        if document.get("text") is not None:
            return check_text(document["text"], f"{what} text")
        if document.get("id") is not None:
            return StoredPassage(checked_id(document["id"], f"{what} id"))
    if not isinstance(document, str):
        raise TextTypeError(
            f'{what} must be a string, a StoredPassage, or a mapping with "text" or "id"; '
            f"got {shown(document)}."
        )
    return check_text(document, what)


def checked_id(value: object, what: str) -> str:
    """Returns a passage's id.

    Raises:
        TextTypeError: It is no string.
        InvalidTextError: It is empty, or cannot be written as UTF-8.
    """
    name = check_text(value, what)
    if not name:
        raise InvalidTextError(f"{what} must hold at least one character; got ''.")
    return name


def document_on_wire(document: str | StoredPassage) -> str | dict[str, str]:
    """Returns a document as requests hold it."""
    return document if isinstance(document, str) else {"id": document.id}
