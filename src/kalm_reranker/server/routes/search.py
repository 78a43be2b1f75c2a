"""POST /v1/search."""

from fastapi import APIRouter, Request, Response

from kalm_reranker.server.failure_models import OF_ANY_BODY, failure_responses
from kalm_reranker.server.handling import Exchange, handle
from kalm_reranker.server.json_body import JsonValue
from kalm_reranker.server.settings import ServerSettings
from kalm_reranker.server.wire import examples
from kalm_reranker.server.wire.envelope import envelope
from kalm_reranker.server.wire.openapi import json_body, schema_of
from kalm_reranker.server.wire.search_request import SearchRequest, read_search
from kalm_reranker.server.wire.search_response import SearchResponse, render_search


def make_router(settings: ServerSettings) -> APIRouter:
    """Returns the route, documented with the limits of a server."""
    router = APIRouter()
    most = dict.fromkeys(("top_k", "top_n", "candidates"), settings.limits.max_results)
    router.add_api_route(
        "/v1/search",
        search,
        methods=["POST"],
        tags=["passages"],
        summary="Find stored passages",
        operation_id="search",
        response_model=SearchResponse,
        responses=failure_responses(*OF_ANY_BODY, 404),
        openapi_extra=json_body(schema_of(SearchRequest, most=most), examples.SEARCH),
    )
    return router


async def search(request: Request) -> Response:
    """Finds the stored passages that answer a query, the best first.

    A first stage finds candidates, the model scores them from their stored states: no passage is
    read again. Needs a server with an index.
    """
    return await handle(request, _answer)


async def _answer(exchange: Exchange) -> JsonValue:
    settings = exchange.settings
    wanted = read_search(exchange.body, max_results=settings.limits.max_results)
    frame = envelope(wanted.model, exchange.facts, settings, request_id=exchange.request_id)
    exchange.documents = wanted.call.candidates
    found = await exchange.service.search(wanted.call, exchange.deadline)
    return render_search(wanted, found, frame)
