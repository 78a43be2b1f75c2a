"""POST /score: vLLM's ways to give queries and documents, and KaLM's pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import Field, WithJsonSchema

from kalm_reranker.server.calls import ScoreCall
from kalm_reranker.server.request_errors import InvalidRequestError
from kalm_reranker.server.wire.brief import brief
from kalm_reranker.server.wire.checking import Place, checked, refused
from kalm_reranker.server.wire.documents import (
    DOCUMENT_SCHEMA,
    GivenDocument,
    check_number,
    checked_text,
    read_document,
    read_documents,
)
from kalm_reranker.server.wire.fields import QUERY_SCHEMA, integer
from kalm_reranker.server.wire.scoring_options import ScoringOptions

# Names of (the queries, the documents) in requests of vLLM, new and old.
SIDES: Final = (
    ("queries", "documents"),
    ("queries", "items"),
    ("text_1", "text_2"),
    ("data_1", "data_2"),
)
SHAPES: Final = (*SIDES, ("pairs",))
SIDE_NAMES: Final = tuple(dict.fromkeys(name for names in SHAPES for name in names))

QUERIES_SCHEMA: Final = {
    "anyOf": [QUERY_SCHEMA, {"type": "array", "minItems": 1, "items": QUERY_SCHEMA}]
}
DOCUMENTS_SCHEMA: Final = {
    "anyOf": [
        *DOCUMENT_SCHEMA["anyOf"],
        {"type": "array", "minItems": 1, "items": DOCUMENT_SCHEMA},
    ]
}
_PAIR_SCHEMA: Final = {
    "anyOf": [
        {
            "type": "object",
            "title": "Pair",
            "required": ["query", "document"],
            "properties": {
                "id": {
                    "type": ["string", "integer", "null"],
                    "description": "Comes back with the score.",
                },
                "query": QUERY_SCHEMA,
                "document": DOCUMENT_SCHEMA,
            },
        },
        {
            "type": "array",
            "title": "Query and document",
            "prefixItems": [QUERY_SCHEMA, DOCUMENT_SCHEMA],
            "minItems": 2,
            "maxItems": 2,
        },
    ]
}

# What is in them is read here, since either side may be one or a list.
_Queries = Annotated[Any, WithJsonSchema(QUERIES_SCHEMA)]
_Documents = Annotated[Any, WithJsonSchema(DOCUMENTS_SCHEMA)]
_Pairs = Annotated[
    list[Any],
    Field(min_length=1),
    WithJsonSchema({"type": "array", "minItems": 1, "items": _PAIR_SCHEMA}),
]


class ScoreRequest(ScoringOptions):
    """Queries and documents, in one of five ways; scores come back in their order."""

    queries: _Queries = Field(None, description="A query or several.")
    documents: _Documents = Field(
        None,
        description="A document or several: as many as there are queries, or one of either.",
    )
    items: _Documents = Field(None, description="Another name for documents.")
    text_1: _Queries = Field(None, description="Older name for queries.")
    text_2: _Documents = Field(None, description="Older name for documents.")
    data_1: _Queries = Field(None, description="Older name for queries.")
    data_2: _Documents = Field(None, description="Older name for documents.")
    pairs: _Pairs | None = Field(None, description="KaLM's way: query and document of each.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A request for scores, whatever its shape was.

    Attributes:
        call: What is to be scored.
        model: The name it has for the model; None for any.
        ids: Names of KaLM's pairs, each None where it has none; None for other shapes.
        documents: What the request calls its documents.
        return_margin: Whether margins are to be returned.
        margins_as_scores: Whether scores are to be margins.
        remarks: What the caller should know, in sentences.
    """

    call: ScoreCall
    model: str | None
    ids: tuple[str | int | None, ...] | None
    documents: str
    return_margin: bool
    margins_as_scores: bool
    remarks: tuple[str, ...]


def read_score(body: Mapping[str, Any], *, max_pairs: int) -> Score:
    """Returns what a body asks for.

    Raises:
        InvalidRequestError: It makes no sense.
        RequestTooLargeError: It has more pairs, or documents, than `max_pairs`.
    """
    request = checked(ScoreRequest, body)
    given = tuple(name for name in SIDE_NAMES if getattr(request, name) is not None)
    ids = None
    if given == ("pairs",):
        queries, documents, ids = _pairs(request.pairs or [], max_pairs)
        documents_name = "pairs"
    elif given in SIDES:
        queries, documents = _sides(request, *given, max_pairs)
        documents_name = given[1]
    else:
        raise _ambiguous(given)
    return Score(
        call=_call(request, queries, documents),
        model=request.model,
        ids=ids,
        documents=documents_name,
        return_margin=bool(request.return_margin),
        margins_as_scores=request.margins_as_scores,
        remarks=tuple(request.not_done),
    )


def _call(
    request: ScoreRequest, queries: Sequence[str], documents: Sequence[GivenDocument]
) -> ScoreCall:
    """Pairs of two lists of one length, or of one with each of the others."""
    distinct = {query: number for number, query in enumerate(dict.fromkeys(queries))}
    pairs = tuple(
        (
            distinct[queries[index if len(queries) > 1 else 0]],
            index if len(documents) > 1 else 0,
        )
        for index in range(max(len(queries), len(documents)))
    )
    return ScoreCall(
        queries=tuple(distinct),
        documents=tuple(document.input for document in documents),
        pairs=pairs,
        instruction=request.instruction,
        compression_ratio=request.ratio,
        max_document_tokens=request.max_document_tokens,
        truncate=request.cuts,
    )


def _sides(
    request: ScoreRequest, queries_name: str, documents_name: str, most: int
) -> tuple[list[str], list[GivenDocument]]:
    queries_given = getattr(request, queries_name)
    documents_given = getattr(request, documents_name)
    for name, given in ((queries_name, queries_given), (documents_name, documents_given)):
        if isinstance(given, list):
            check_number(len(given), most, name)
            if not given:
                raise refused((name,), "must hold at least one; got a list of 0.")
    if isinstance(queries_given, list):
        queries = [_query(item, (queries_name, i)) for i, item in enumerate(queries_given)]
    else:
        queries = [_query(queries_given, (queries_name,))]
    if isinstance(documents_given, list):
        documents = list(read_documents(documents_given, (documents_name,)))
    else:
        documents = [read_document(documents_given, (documents_name,))]
    if len(queries) != len(documents) and 1 not in (len(queries), len(documents)):
        raise refused(
            (documents_name,),
            f"must be as many as {queries_name}, or one of either; got {len(queries):,} "
            f"{queries_name} and {len(documents):,} {documents_name}.",
        )
    return queries, documents


def _pairs(
    given: Sequence[Any], most: int
) -> tuple[list[str], list[GivenDocument], tuple[str | int | None, ...]]:
    check_number(len(given), most, "pairs")
    read = [_pair(item, ("pairs", index)) for index, item in enumerate(given)]
    return (
        [query for query, _, _ in read],
        [document for _, document, _ in read],
        tuple(name for _, _, name in read),
    )


def _pair(item: object, place: Place) -> tuple[str, GivenDocument, str | int | None]:
    if isinstance(item, list) and len(item) == 2:
        return _query(item[0], (*place, 0)), read_document(item[1], (*place, 1)), None
    if not isinstance(item, dict):
        raise refused(place, f"must be an object with query and document; got {brief(item)}.")
    for name in ("query", "document"):
        if item.get(name) is None:
            raise refused((*place, name), f"is required; got {brief(item)}.")
    given_id = integer(item.get("id"))
    if isinstance(given_id, str):
        checked_text(given_id, (*place, "id"))
    elif given_id is not None and (isinstance(given_id, bool) or not isinstance(given_id, int)):
        raise refused((*place, "id"), f"must be a string or an integer; got {brief(given_id)}.")
    return (
        _query(item["query"], (*place, "query")),
        read_document(item["document"], (*place, "document")),
        given_id,
    )


def _query(value: object, place: Place) -> str:
    text = checked_text(value, place)
    if not text.strip():
        raise refused(place, f"must hold some text besides white space; got {brief(text)}.")
    return text


def _ambiguous(given: Sequence[str]) -> InvalidRequestError:
    ways = "; ".join(" and ".join(names) for names in SIDES)
    got = ", ".join(given) if given else "none of them"
    return InvalidRequestError(
        f"a request for scores needs pairs, or one of: {ways}; got {got}.",
        code="ambiguous" if given else "missing",
    )
