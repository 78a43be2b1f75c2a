"""Answers of POST /v1/search."""

import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from kalm_reranker.server.answering import ModelFacts
from kalm_reranker.server.wire.envelope import Envelope
from kalm_reranker.server.wire.meta import Remarks
from kalm_reranker.server.wire.rerank_response import ReturnedDocument
from kalm_reranker.server.wire.search_request import Search

if TYPE_CHECKING:
    from kalm_reranker.search.results import SearchResult, SearchResults


class FoundItem(BaseModel):
    """A passage that was found."""

    id: str
    rank: int = Field(description="From 1.", ge=1)
    score: float
    relevance_score: float = Field(description="The same as score.")
    margin: float | None = Field(None, description="Where it was asked for.")
    raw_score: float | None = Field(
        None, description="The probability before calibration, on a server that calibrates."
    )
    document: ReturnedDocument | None = Field(
        None, description="Its text, unless it was not wanted or the index keeps none."
    )
    metadata: dict[str, Any]
    compression_ratio: int = Field(description="At which it was scored last.", ge=1)
    truncated: bool = Field(description="Whether the text was cut when it was encoded.")
    first_stage_rank: int = Field(ge=1)
    first_stage_score: float | None = None
    blended: float | None = Field(
        None, description="What results are ordered by, where the first stage is blended in."
    )


class SearchStage(BaseModel):
    """A step of the search."""

    name: str
    ms: float = Field(ge=0)
    counts: dict[str, int]


class SearchResponse(BaseModel):
    """What was found, best first."""

    id: str = Field(description="Of the request; its log lines have it, too.")
    object: Literal["search"]
    created: int
    model: str
    results: list[FoundItem]
    num_candidates: int = Field(description="Passages that were scored.", ge=0)
    stages: list[SearchStage]
    meta: Remarks


def render_search(wanted: Search, found: "SearchResults", frame: Envelope) -> dict[str, Any]:
    """Returns the answer to a request; arguments as in `render_rerank`."""
    results = found if wanted.min_score is None else found.at_least(wanted.min_score)
    return {
        "id": frame.request_id,
        "object": "search",
        "created": int(time.time()),
        "model": frame.model,
        "results": [_item(wanted, result, frame.facts) for result in results],
        "num_candidates": found.num_candidates,
        "stages": [
            {"name": stage.name, "ms": round(1000 * stage.seconds, 3), "counts": stage.counts}
            for stage in found.stages
        ],
        "meta": {"warnings": [*frame.remarks, *wanted.remarks, *found.notes, *found.damaged]},
    }


def _item(wanted: Search, result: "SearchResult", facts: ModelFacts) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": result.id,
        "rank": result.rank,
        "score": result.score,
        "relevance_score": result.score,
    }
    if wanted.return_margin:
        item["margin"] = result.margin
    if facts.calibrated:
        item["raw_score"] = result.raw_score
    if wanted.return_documents and result.text is not None:
        item["document"] = {"text": result.text}
    item |= {
        "metadata": result.metadata,
        "compression_ratio": result.compression_ratio,
        "truncated": result.truncated,
        "first_stage_rank": result.first_stage_rank,
    }
    if result.first_stage_score is not None:
        item["first_stage_score"] = result.first_stage_score
    if result.blended is not None:
        item["blended"] = result.blended
    return item
