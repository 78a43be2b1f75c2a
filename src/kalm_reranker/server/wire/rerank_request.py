"""POST /rerank in the shapes of Cohere, Jina, Voyage, vLLM, Infinity, llama.cpp, TEI and KaLM."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from kalm_reranker.server.calls import ScoreCall
from kalm_reranker.server.wire.checking import checked
from kalm_reranker.server.wire.documents import (
    DOCUMENT_SCHEMA,
    GivenDocument,
    check_number,
    read_documents,
)
from kalm_reranker.server.wire.fields import Count, Query, Text
from kalm_reranker.server.wire.scoring_options import ScoringOptions

_DocumentList = Annotated[
    list[Any],
    Field(min_length=1),
    WithJsonSchema({"type": "array", "minItems": 1, "items": DOCUMENT_SCHEMA}),
]

_MOST_INDICES = 20


class RerankRequest(ScoringOptions):
    """A query and documents, of which the best come first."""

    query: Query
    documents: _DocumentList = Field(
        description="Texts, objects with text, or objects with the id of a stored passage."
    )
    top_n: Count | None = Field(None, description="Results wanted; 0 or null for all.")
    top_k: Count | None = Field(None, description="Voyage's and KaLM's name for top_n.")
    return_documents: bool | None = Field(None, description="Also return the documents.")
    rank_fields: list[Text] | None = Field(
        None,
        description="Fields of objects that make up their text, joined by line breaks. Objects "
        "may then hold anything.",
    )
    texts: None = Field(None, description="Of TEI's requests only.")


class TEIRequest(ScoringOptions):
    """A query and texts, in the shape of text-embeddings-inference."""

    query: Query
    texts: _DocumentList = Field(description="The texts; results for all of them come back.")
    return_text: bool | None = Field(None, description="Also return the texts.")
    return_documents: bool | None = Field(None, description="Another name for return_text.")
    documents: None = Field(None, description="Of other requests only.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerank:
    """A request to rerank, whatever its shape was.

    Attributes:
        call: What is to be scored.
        documents: As they were given.
        model: The name it has for the model; None for any.
        top: Results wanted; None for all.
        tei: Whether the answer is in TEI's shape.
        data: Whether results are also wanted under Voyage's name for them.
        return_documents: Whether documents are to be returned.
        return_margin: Whether margins are to be returned.
        margins_as_scores: Whether scores are to be margins.
        remarks: What the caller should know, in sentences.
    """

    call: ScoreCall
    documents: tuple[GivenDocument, ...]
    model: str | None
    top: int | None
    tei: bool
    data: bool
    return_documents: bool
    return_margin: bool
    margins_as_scores: bool
    remarks: tuple[str, ...]


def is_tei(body: Mapping[str, Any]) -> bool:
    """Returns whether a body is in TEI's shape, so that the answer must be, too."""
    return body.get("texts") is not None


def read_rerank(body: Mapping[str, Any], *, max_documents: int) -> Rerank:
    """Returns what a body asks for.

    Raises:
        InvalidRequestError: It makes no sense.
        RequestTooLargeError: It has more documents than `max_documents`.
    """
    return _read_tei(body, max_documents) if is_tei(body) else _read(body, max_documents)


def _read(body: Mapping[str, Any], max_documents: int) -> Rerank:
    request = checked(RerankRequest, body)
    check_number(len(request.documents), max_documents)
    documents = read_documents(request.documents, rank_fields=request.rank_fields or ())
    return_documents = bool(request.return_documents)
    # As `voyageai` sends them, be they null: its answers have another name for the results.
    data = "top_k" in body or "truncation" in body
    return Rerank(
        call=_call(request, request.query, documents, return_text=return_documents),
        documents=documents,
        model=request.model,
        top=min((limit for limit in (request.top_n, request.top_k) if limit), default=None),
        tei=False,
        data=data,
        return_documents=return_documents,
        return_margin=bool(request.return_margin),
        margins_as_scores=request.margins_as_scores,
        remarks=(*request.not_done, *_bare_remark(documents)),
    )


def _read_tei(body: Mapping[str, Any], max_documents: int) -> Rerank:
    request = checked(TEIRequest, body)
    check_number(len(request.texts), max_documents, "texts")
    documents = read_documents(request.texts, ("texts",))
    return_documents = bool(request.return_text) or bool(request.return_documents)
    return Rerank(
        call=_call(request, request.query, documents, return_text=return_documents),
        documents=documents,
        model=request.model,
        top=None,  # clients of TEI count on a result for each text
        tei=True,
        data=False,
        return_documents=return_documents,
        return_margin=bool(request.return_margin),
        margins_as_scores=request.margins_as_scores,
        remarks=(),
    )


def _call(
    request: ScoringOptions,
    query: str,
    documents: Sequence[GivenDocument],
    *,
    return_text: bool,
) -> ScoreCall:
    return ScoreCall(
        queries=(query,),
        documents=tuple(document.input for document in documents),
        pairs=tuple((0, index) for index in range(len(documents))),
        instruction=request.instruction,
        compression_ratio=request.ratio,
        max_document_tokens=request.max_document_tokens,
        truncate=request.cuts,
        return_text=return_text,
    )


def _bare_remark(documents: Sequence[GivenDocument]) -> list[str]:
    bare = [index for index, document in enumerate(documents) if document.bare]
    if not bare:
        return []
    return [
        "None of the rank_fields is in, and an empty text was scored for: "
        + ", ".join(f"documents[{index}]" for index in bare[:_MOST_INDICES])
        + (", ..." if len(bare) > _MOST_INDICES else ".")
    ]
