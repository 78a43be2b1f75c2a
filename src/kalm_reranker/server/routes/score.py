"""POST /score, for independent pairs."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from kalm_reranker.server.failure_models import OF_ANY_BODY, failure_responses
from kalm_reranker.server.handling import Exchange, handle
from kalm_reranker.server.json_body import JsonValue
from kalm_reranker.server.settings import Limits, ServerSettings
from kalm_reranker.server.wire import examples
from kalm_reranker.server.wire.envelope import envelope
from kalm_reranker.server.wire.openapi import exactly, json_body, same_body, schema_of
from kalm_reranker.server.wire.score_request import (
    SHAPES,
    SIDE_NAMES,
    ScoreRequest,
    read_score,
)
from kalm_reranker.server.wire.score_response import (
    PairsResponse,
    ScoreResponse,
    render_score,
)

PATHS: Final = ("/score", "/v1/score")


def make_router(settings: ServerSettings) -> APIRouter:
    """Returns the routes, documented with the limits of a server."""
    router = APIRouter()
    body = json_body(_schema(settings.limits), examples.SCORE)
    for path in PATHS:
        is_alias = path != PATHS[0]
        router.add_api_route(
            path,
            score,
            methods=["POST"],
            tags=["rerank"],
            summary=f"As {PATHS[0]}" if is_alias else "Score pairs",
            operation_id=f"score{path.replace('/', '_')}",
            response_model=ScoreResponse | PairsResponse,
            responses=failure_responses(*OF_ANY_BODY, 404),
            openapi_extra=same_body(PATHS[0]) if is_alias else body,
        )
    return router


async def score(request: Request) -> Response:
    """Scores queries against documents and returns the scores in the order of the request.

    Either KaLM's `pairs`, whose `id`s come back, or queries and documents under one of vLLM's
    names: one of either with each of the others, or two lists of one length.
    """
    return await handle(request, _answer)


async def _answer(exchange: Exchange) -> JsonValue:
    settings = exchange.settings
    wanted = read_score(exchange.body, max_pairs=settings.limits.max_documents)
    frame = envelope(wanted.model, exchange.facts, settings, request_id=exchange.request_id)
    exchange.documents = len(wanted.call.pairs)
    result = await exchange.service.score(wanted.call, exchange.deadline)
    return render_score(wanted, result, frame)


def _schema(limits: Limits) -> dict[str, Any]:
    schema = schema_of(ScoreRequest, most_items=dict.fromkeys(SIDE_NAMES, limits.max_documents))
    return {"anyOf": [exactly(schema, names, SIDE_NAMES) for names in SHAPES]}
