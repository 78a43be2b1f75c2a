"""Requests about stored passages: what to add, which to return or delete."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field, WithJsonSchema

from kalm_reranker.server.calls import PassageInput
from kalm_reranker.server.request_errors import InvalidRequestError
from kalm_reranker.server.wire.brief import brief
from kalm_reranker.server.wire.checking import REQUEST_CONFIG, checked, refused
from kalm_reranker.server.wire.documents import check_number
from kalm_reranker.server.wire.fields import PassageId, Text, id_problem

_Metadata = Annotated[
    dict[str, Any],
    Field(description="A JSON object that is kept beside the text, for filters and results."),
]


class PassageToStore(BaseModel):
    """A passage; one of the same id is replaced."""

    model_config = REQUEST_CONFIG

    id: PassageId
    text: Text = Field(description="All that is read of it, the title included.")
    metadata: _Metadata | None = None


class PassagesRequest(BaseModel):
    """Passages to store."""

    model_config = REQUEST_CONFIG

    # Elements are checked after their number is.
    passages: Annotated[
        list[Any],
        Field(min_length=1),
        WithJsonSchema(
            {"type": "array", "minItems": 1, "items": PassageToStore.model_json_schema()}
        ),
    ]


def read_passages(body: Mapping[str, Any], *, max_passages: int) -> tuple[PassageInput, ...]:
    """Returns the passages of a body, which holds several, or is one.

    Raises:
        InvalidRequestError: It makes no sense.
        RequestTooLargeError: It has more than `max_passages`.
    """
    if body.get("passages") is None and ("id" in body or "text" in body):
        return (_passage(checked(PassageToStore, body)),)
    given = checked(PassagesRequest, body).passages
    check_number(len(given), max_passages, "passages")
    passages = []
    for index, item in enumerate(given):
        place = ("passages", index)
        if not isinstance(item, dict):
            raise refused(place, f"must be an object with id and text; got {brief(item)}.")
        passages.append(_passage(checked(PassageToStore, item, place)))
    return tuple(passages)


def read_ids(given: Sequence[str], *, max_ids: int) -> tuple[str, ...]:
    """Returns the ids of a path or query string, each once.

    Raises:
        InvalidRequestError: There is none, or one names no passage.
        RequestTooLargeError: More than `max_ids`.
    """
    if not given:
        raise InvalidRequestError(
            "id is required; got none.", param="id", hint="For example ?id=a&id=b."
        )
    check_number(len(given), max_ids, "ids")
    for name in given:
        if words := id_problem(name):
            raise refused(("id",), words)
    return tuple(dict.fromkeys(given))


def read_flag(given: str | None, name: str) -> bool:
    """Returns a flag of a query string; False where it is not given.

    Raises:
        InvalidRequestError: It is neither "true" nor "false".
    """
    if given is None or given == "false":
        return False
    if given == "true":
        return True
    raise refused((name,), f"must be true or false; got {brief(given)}.")


def _passage(given: PassageToStore) -> PassageInput:
    return PassageInput(id=given.id, text=given.text, metadata=given.metadata)
