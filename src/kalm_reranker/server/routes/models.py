"""What is served: GET /v1/models and GET /info."""

from fastapi import APIRouter, Request, Response

from kalm_reranker.server.failure_models import failure_responses
from kalm_reranker.server.handling import Exchange, handle
from kalm_reranker.server.json_body import JsonValue
from kalm_reranker.server.settings import ServerSettings
from kalm_reranker.server.wire.fields import NAME_SCHEMA
from kalm_reranker.server.wire.info import Info, render_info
from kalm_reranker.server.wire.model_list import (
    ModelList,
    ServedModel,
    render_model,
    render_models,
)
from kalm_reranker.server.wire.openapi import parameter


def make_router(settings: ServerSettings) -> APIRouter:
    """Returns the routes."""
    router = APIRouter(tags=["operation"])
    responses = failure_responses(401, 403, 404, 429, 500, 503, 504)
    router.add_api_route(
        "/v1/models",
        list_models,
        methods=["GET"],
        summary="Names of the model",
        operation_id="list_models",
        response_model=ModelList,
        responses=responses,
    )
    router.add_api_route(
        "/v1/models/{name:path}",
        get_model,
        methods=["GET"],
        summary="The model by one of its names",
        operation_id="get_model",
        response_model=ServedModel,
        responses=responses,
        openapi_extra={"parameters": [parameter("name", NAME_SCHEMA, where="path")]},
    )
    router.add_api_route(
        "/info",
        info,
        methods=["GET"],
        summary="Facts, limits and counts",
        operation_id="info",
        response_model=Info,
        responses=responses,
    )
    return router


async def list_models(request: Request) -> Response:
    """Returns all names that requests may use for the model, as OpenAI's API lists models."""
    return await handle(request, _list)


async def get_model(request: Request) -> Response:
    """Returns what the list of models says of one name."""
    name = request.path_params["name"]

    async def answer(exchange: Exchange) -> JsonValue:
        return render_model(name, exchange.facts, exchange.settings)

    return await handle(request, answer)


async def info(request: Request) -> Response:
    """Returns facts of the model, the server's limits, and running totals.

    The first fields are those of text-embeddings-inference, for its clients.
    """
    return await handle(request, _info)


async def _list(exchange: Exchange) -> JsonValue:
    return render_models(exchange.facts, exchange.settings)


async def _info(exchange: Exchange) -> JsonValue:
    return render_info(exchange.facts, exchange.settings, exchange.service.counts())
