"""Answers about stored passages."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from kalm_reranker.server.calls import AddResult
from kalm_reranker.server.wire.meta import Remarks

if TYPE_CHECKING:
    from kalm_reranker.store.passage import Passage


class PassagesAdded(BaseModel):
    """What became of passages to store; they are on disk."""

    object: Literal["passages.added"]
    added: int = Field(description="New ones.", ge=0)
    replaced: int = Field(description="Their text is another one now.", ge=0)
    metadata_updated: int = Field(description="Only their metadata is.", ge=0)
    unchanged: int = Field(description="They were there already.", ge=0)
    truncated: int = Field(description="How many of the encoded ones were cut.", ge=0)
    meta: Remarks


class StoredPassage(BaseModel):
    """A stored passage."""

    object: Literal["passage"]
    id: str
    text: str = Field(description="Empty where the index keeps no texts.")
    metadata: dict[str, Any]


class PassageList(BaseModel):
    """Stored passages, in the order of the ids."""

    object: Literal["list"]
    data: list[StoredPassage]


class PassagesDeleted(BaseModel):
    """What was deleted."""

    object: Literal["passages.deleted"]
    deleted: int = Field(description="How many there were.", ge=0)


def render_added(result: AddResult) -> dict[str, Any]:
    """Returns a `PassagesAdded`."""
    return {
        "object": "passages.added",
        "added": result.added,
        "replaced": result.replaced,
        "metadata_updated": result.metadata_updated,
        "unchanged": result.unchanged,
        "truncated": result.truncated,
        "meta": {"warnings": list(result.notes)},
    }


def render_passage(passage: "Passage") -> dict[str, Any]:
    """Returns a `StoredPassage`."""
    return {
        "object": "passage",
        "id": passage.id,
        "text": passage.text,
        "metadata": dict(passage.metadata or {}),
    }


def render_passages(passages: "Sequence[Passage]") -> dict[str, Any]:
    """Returns a `PassageList`."""
    return {"object": "list", "data": [render_passage(passage) for passage in passages]}


def render_deleted(number: int) -> dict[str, Any]:
    """Returns a `PassagesDeleted`."""
    return {"object": "passages.deleted", "deleted": number}
