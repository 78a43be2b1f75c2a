"""Answers of POST /rerank: all that clients of other APIs look for, or TEI's bare list."""

import time
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, Field, RootModel

from kalm_reranker.server.answering import ModelFacts
from kalm_reranker.server.calls import PairResult, ScoreResult
from kalm_reranker.server.wire.envelope import Envelope
from kalm_reranker.server.wire.meta import ScoreMeta, Usage, score_meta, usage
from kalm_reranker.server.wire.rerank_request import Rerank

_JSONObject: TypeAlias = dict[str, Any]


class ReturnedDocument(BaseModel):
    """A document, where it was asked for."""

    text: str


class _RankedBase(BaseModel):
    index: int = Field(description="Place in the request's list of documents.", ge=0)
    relevance_score: float
    score: float = Field(description="The same as relevance_score.")
    id: str | int | None = Field(None, description="The document's, where it has one.")
    margin: float | None = Field(None, description="Where it was asked for.")
    raw_score: float | None = Field(
        None, description="The probability before calibration, on a server that calibrates."
    )


class RankedItem(_RankedBase):
    """A document's place in the ranking."""

    document: ReturnedDocument | None = None


class VoyageItem(_RankedBase):
    """The same, with the document as Voyage returns it."""

    document: str | None = None


class RerankResponse(BaseModel):
    """The ranking, best first."""

    id: str = Field(description="Of the request; its log lines have it, too.")
    object: Literal["rerank"]
    created: int
    model: str
    results: list[RankedItem]
    data: list[VoyageItem] | None = Field(
        None, description="The results, if the request has top_k or truncation, as Voyage's do."
    )
    usage: Usage
    meta: ScoreMeta


class TEIItem(BaseModel):
    """A text's place in the ranking."""

    index: int = Field(ge=0)
    score: float
    text: str | None = None
    margin: float | None = None


class TEIResponse(RootModel[list[TEIItem]]):
    """All texts, best first, in the shape of text-embeddings-inference."""


def render_rerank(
    wanted: Rerank, result: ScoreResult, frame: Envelope
) -> _JSONObject | list[_JSONObject]:
    """Returns the answer to a request.

    Args:
        wanted: The request.
        result: The scores of its documents, in their order.
        frame: Which request and model it is about.
    """
    # By margin, since scores near 1 round to the same; sorting keeps the order of equals.
    order = sorted(range(len(result.pairs)), key=lambda index: -result.pairs[index].margin)
    if wanted.tei:
        return [_tei_item(wanted, result, index) for index in order]
    best = order[: wanted.top]
    texts = {index: _text(wanted, result, index) for index in best}
    items = {index: _item(wanted, result.pairs[index], index, frame.facts) for index in best}
    answer = {
        "id": frame.request_id,
        "object": "rerank",
        "created": int(time.time()),
        "model": frame.model,
        "results": [
            item if texts[index] is None else {**item, "document": {"text": texts[index]}}
            for index, item in items.items()
        ],
        "usage": usage(result),
        "meta": score_meta(
            wanted.call, result, frame.facts, (*frame.remarks, *_remarks(wanted, result))
        ),
    }
    if wanted.data:
        answer["data"] = [
            item if texts[index] is None else {**item, "document": texts[index]}
            for index, item in items.items()
        ]
    return answer


def _item(wanted: Rerank, pair: PairResult, index: int, facts: ModelFacts) -> _JSONObject:
    score = pair.margin if wanted.margins_as_scores else pair.score
    item: _JSONObject = {"index": index, "relevance_score": score, "score": score}
    label = wanted.documents[index].label
    if label is not None and label != "":  # Voyage's client cannot read an empty string
        item["id"] = label
    if wanted.return_margin:
        item["margin"] = pair.margin
    if facts.calibrated:
        item["raw_score"] = pair.raw_score
    return item


def _tei_item(wanted: Rerank, result: ScoreResult, index: int) -> _JSONObject:
    pair = result.pairs[index]
    item: _JSONObject = {
        "index": index,
        "score": pair.margin if wanted.margins_as_scores else pair.score,
    }
    text = _text(wanted, result, index)
    if text is not None:
        item["text"] = text
    if wanted.return_margin:
        item["margin"] = pair.margin
    return item


def _text(wanted: Rerank, result: ScoreResult, index: int) -> str | None:
    """The text to return; None where none is wanted, or the index keeps none."""
    if not wanted.return_documents:
        return None
    text = wanted.documents[index].text
    return result.texts.get(index) if text is None else text


def _remarks(wanted: Rerank, result: ScoreResult) -> tuple[str, ...]:
    textless = wanted.return_documents and any(
        document.text is None and result.texts.get(index) is None
        for index, document in enumerate(wanted.documents)
    )
    if not textless:
        return wanted.remarks
    return (*wanted.remarks, "The index keeps no texts: stored passages come back without.")
