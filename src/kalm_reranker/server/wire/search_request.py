"""POST /v1/search: a query over all stored passages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from kalm_reranker.errors import InvalidOptionError, RequestTooLargeError
from kalm_reranker.options import UNSET
from kalm_reranker.search.filters import predicate_of
from kalm_reranker.server.calls import SearchCall
from kalm_reranker.server.request_errors import InvalidRequestError
from kalm_reranker.server.wire.checking import REQUEST_CONFIG, checked, refused
from kalm_reranker.server.wire.fields import Query, Ratio, Text, Wanted
from kalm_reranker.server.wire.scoring_options import not_done

_DEFAULT_TOP = 10
_DEFAULT_CANDIDATES = 100
_MOST_CONDITIONS = 100  # each is looked at for each passage that the first stage can find
_MOST_CHARACTERS = 300  # of a message that quotes the request's own words

_ORDER_SCHEMA = {"type": ["number", "string"]}
_CONDITION_SCHEMA: Final = {
    "anyOf": [
        {"type": ["string", "number", "boolean", "null", "array"]},
        {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "properties": {
                "$gt": _ORDER_SCHEMA,
                "$gte": _ORDER_SCHEMA,
                "$lt": _ORDER_SCHEMA,
                "$lte": _ORDER_SCHEMA,
                "$eq": {},
                "$ne": {},
                "$in": {"type": "array"},
                "$nin": {"type": "array"},
                "$exists": {},
            },
        },
    ]
}
_Filter = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": _MOST_CONDITIONS,
            "additionalProperties": _CONDITION_SCHEMA,
        }
    ),
]


class SearchRequest(BaseModel):
    """A query for the server's index."""

    model_config = REQUEST_CONFIG

    query: Query
    top_k: Wanted | None = Field(None, description=f"Results wanted; {_DEFAULT_TOP} by default.")
    top_n: Wanted | None = Field(None, description="Another name for top_k.")
    candidates: Wanted | None = Field(
        None,
        description="Passages that the first stage hands to the reranker, never fewer than top_k; "
        f"{_DEFAULT_CANDIDATES} by default.",
    )
    model: Text | None = Field(None, description="A name that GET /v1/models lists.")
    instruction: Text | None = Field(
        None, description="Task instruction; the model's default, if not given."
    )
    first_stage: Literal["bm25", "dense", "hybrid"] | None = Field(
        None, description="How candidates are found; by all the index has, if not given."
    )
    compression_ratio: Ratio | None = Field(
        None, description="Score at this ratio, a multiple of the index's; its own plan otherwise."
    )
    fuse: bool | None = Field(
        None, description="Blend in the first stage's scores; as the model is set, if not given."
    )
    filter: _Filter | None = Field(
        None,
        description='Conditions on metadata, such as {"lang": "en", "year": {"$gte": 2020}}.',
    )
    min_score: float | None = Field(None, description="Leave out results that score less.")
    return_documents: bool | None = Field(None, description="Return texts (the default).")
    return_margin: bool | None = Field(None, description="Also return margins.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A request to search.

    Attributes:
        call: What is looked for.
        model: The name it has for the model; None for any.
        min_score: Smallest score of results; None for any.
        return_documents: Whether texts are to be returned.
        return_margin: Whether margins are to be returned.
        remarks: What the caller should know, in sentences.
    """

    call: SearchCall
    model: str | None
    min_score: float | None
    return_documents: bool
    return_margin: bool
    remarks: tuple[str, ...]


def read_search(body: Mapping[str, Any], *, max_results: int) -> Search:
    """Returns what a body asks for.

    Raises:
        InvalidRequestError: It makes no sense.
        RequestTooLargeError: More results or candidates than `max_results`.
    """
    request = checked(SearchRequest, body)
    for name in ("top_k", "top_n", "candidates"):
        wanted = getattr(request, name)
        if wanted is not None and wanted > max_results:
            raise RequestTooLargeError(
                f"{name} must be at most {max_results:,} on this server; got {wanted:,}."
            )
    ratio = request.compression_ratio
    top = min((top for top in (request.top_k, request.top_n) if top), default=_DEFAULT_TOP)
    call = SearchCall(
        query=request.query,
        top_k=min(top, max_results),
        candidates=request.candidates or min(_DEFAULT_CANDIDATES, max_results),
        instruction=request.instruction,
        first_stage=request.first_stage,
        compression_ratio=UNSET if ratio is None else None if ratio == "none" else ratio,
        fuse=request.fuse,
        filter=_checked_filter(request.filter),
    )
    return Search(
        call=call,
        model=request.model,
        min_score=request.min_score,
        return_documents=request.return_documents is not False,
        return_margin=bool(request.return_margin),
        remarks=tuple(not_done(request.model_extra or {})),
    )


def _checked_filter(given: dict[str, Any] | None) -> dict[str, Any] | None:
    if given:
        conditions = sum(
            max(1, len(value)) if isinstance(value, dict) else 1 for value in given.values()
        )
        if conditions > _MOST_CONDITIONS:
            raise refused(
                ("filter",),
                f"must hold at most {_MOST_CONDITIONS} conditions; got {conditions:,}.",
                "$in takes any number of values.",
            )
        try:
            predicate_of(given)
        except InvalidOptionError as error:
            raise InvalidRequestError(error.message[:_MOST_CHARACTERS], param="filter") from None
    return given or None
