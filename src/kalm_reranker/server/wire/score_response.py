"""Answers of POST /score, in input order: vLLM's list, or KaLM's results."""

import time
from typing import Any, Literal

from pydantic import BaseModel, Field

from kalm_reranker.server.calls import ScoreResult
from kalm_reranker.server.wire.envelope import Envelope
from kalm_reranker.server.wire.meta import ScoreMeta, Usage, score_meta, usage
from kalm_reranker.server.wire.score_request import Score


class _ScoreBase(BaseModel):
    index: int = Field(ge=0)
    score: float
    margin: float | None = Field(None, description="Where it was asked for.")
    raw_score: float | None = Field(
        None, description="The probability before calibration, on a server that calibrates."
    )


class ScoreItem(_ScoreBase):
    """The score of a pair, as vLLM says it."""

    object: Literal["score"]


class PairItem(_ScoreBase):
    """The score of one of KaLM's pairs."""

    id: str | int | None = Field(None, description="Of the pair, where it has one.")


class _ResponseBase(BaseModel):
    id: str = Field(description="Of the request; its log lines have it, too.")
    created: int
    model: str
    usage: Usage
    meta: ScoreMeta


class ScoreResponse(_ResponseBase):
    """Scores in the order of the request."""

    object: Literal["list"]
    data: list[ScoreItem]


class PairsResponse(_ResponseBase):
    """Scores in the order of the request's pairs."""

    object: Literal["score"]
    results: list[PairItem]


def render_score(wanted: Score, result: ScoreResult, frame: Envelope) -> dict[str, Any]:
    """Returns the answer to a request; arguments as in `render_rerank`."""
    items: list[dict[str, Any]] = []
    for index, pair in enumerate(result.pairs):
        item: dict[str, Any] = {"index": index}
        if wanted.ids is None:
            item["object"] = "score"
        elif wanted.ids[index] is not None:
            item["id"] = wanted.ids[index]
        item["score"] = pair.margin if wanted.margins_as_scores else pair.score
        if wanted.return_margin:
            item["margin"] = pair.margin
        if frame.facts.calibrated:
            item["raw_score"] = pair.raw_score
        items.append(item)
    shape = {"object": "list", "data": items}
    if wanted.ids is not None:
        shape = {"object": "score", "results": items}
    return {
        "id": frame.request_id,
        "created": int(time.time()),
        "model": frame.model,
        **shape,
        "usage": usage(result),
        "meta": score_meta(
            wanted.call,
            result,
            frame.facts,
            (*frame.remarks, *wanted.remarks),
            documents=wanted.documents,
        ),
    }
