"""Stored passages: add, read, delete."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from kalm_reranker.server.failure_models import OF_ANY_BODY, failure_responses
from kalm_reranker.server.handling import Exchange, handle
from kalm_reranker.server.json_body import JsonValue
from kalm_reranker.server.request_errors import ReadOnlyError
from kalm_reranker.server.settings import Limits, ServerSettings
from kalm_reranker.server.wire import examples
from kalm_reranker.server.wire.fields import ID_SCHEMA
from kalm_reranker.server.wire.openapi import json_body, parameter, schema_of
from kalm_reranker.server.wire.passage_request import (
    PassagesRequest,
    PassageToStore,
    read_flag,
    read_ids,
    read_passages,
)
from kalm_reranker.server.wire.passage_response import (
    PassageList,
    PassagesAdded,
    PassagesDeleted,
    StoredPassage,
    render_added,
    render_deleted,
    render_passage,
    render_passages,
)

_FAILURES: Final = (400, 401, 403, 404, 413, 429, 500, 503, 504)
_ALL: Final = "/v1/passages"
_ONE: Final = "/v1/passages/{id:path}"
_ONE_ID: Final = parameter("id", ID_SCHEMA, where="path", description="The id; slashes are part.")
_MISSING_OK: Final = parameter(
    "missing_ok",
    {"type": "boolean", "default": False},
    where="query",
    required=False,
    description="Leave out ids that do not exist, instead of 404.",
)

_LINKS: Final = {
    name: {
        "operationId": name,
        "parameters": {"id": "$request.body#/passages/0/id"},
        "description": "By the id of a passage that was sent.",
    }
    for name in ("get_passage", "delete_passage")
}


def make_router(settings: ServerSettings) -> APIRouter:
    """Returns the routes, documented with the limits of a server."""
    router = APIRouter(tags=["passages"])
    ids = _ids(settings.limits)
    router.add_api_route(
        _ALL,
        add_passages,
        methods=["POST"],
        summary="Store passages",
        operation_id="add_passages",
        response_model=PassagesAdded,
        responses={200: {"links": _LINKS}, **failure_responses(*OF_ANY_BODY, 404)},
        openapi_extra=json_body(_schema(settings.limits), examples.ADD_PASSAGES),
    )
    router.add_api_route(
        _ALL,
        get_passages,
        methods=["GET"],
        summary="Read stored passages",
        operation_id="get_passages",
        response_model=PassageList,
        responses=failure_responses(*_FAILURES),
        openapi_extra={"parameters": [ids]},
    )
    router.add_api_route(
        _ALL,
        delete_passages,
        methods=["DELETE"],
        summary="Delete stored passages",
        operation_id="delete_passages",
        response_model=PassagesDeleted,
        responses=failure_responses(*_FAILURES),
        openapi_extra={"parameters": [ids, _MISSING_OK]},
    )
    router.add_api_route(
        _ONE,
        get_passage,
        methods=["GET"],
        summary="Read a stored passage",
        operation_id="get_passage",
        response_model=StoredPassage,
        responses=failure_responses(*_FAILURES),
        openapi_extra={"parameters": [_ONE_ID]},
    )
    router.add_api_route(
        _ONE,
        delete_passage,
        methods=["DELETE"],
        summary="Delete a stored passage",
        operation_id="delete_passage",
        response_model=PassagesDeleted,
        responses=failure_responses(*_FAILURES),
        openapi_extra={"parameters": [_ONE_ID, _MISSING_OK]},
    )
    return router


async def add_passages(request: Request) -> Response:
    """Encodes passages and stores them; those of an id that is there already are replaced.

    What is there with the same text is not encoded again. The passages are on disk when the answer
    comes; a request that fails may be sent again as it is.
    """
    return await handle(request, _add)


async def get_passages(request: Request) -> Response:
    """Returns stored passages by id: `?id=a&id=b`."""
    given = request.query_params.getlist("id")

    async def answer(exchange: Exchange) -> JsonValue:
        ids = read_ids(given, max_ids=exchange.settings.limits.max_documents)
        return render_passages(await exchange.service.get(ids))

    return await handle(request, answer)


async def get_passage(request: Request) -> Response:
    """Returns a stored passage. For ids that addresses cannot hold, such as `..`, ask by query."""
    given = request.path_params["id"]

    async def answer(exchange: Exchange) -> JsonValue:
        found = await exchange.service.get(read_ids([given], max_ids=1))
        return render_passage(found[0])

    return await handle(request, answer)


async def delete_passages(request: Request) -> Response:
    """Deletes stored passages, `?id=a&id=b`: all of them or, where one is missing, none."""
    return await _delete(request, request.query_params.getlist("id"))


async def delete_passage(request: Request) -> Response:
    """Deletes a stored passage. For ids that addresses cannot hold, such as `..`, use the query."""
    return await _delete(request, [request.path_params["id"]])


async def _add(exchange: Exchange) -> JsonValue:
    settings = exchange.settings
    if settings.read_only:
        raise ReadOnlyError
    passages = read_passages(exchange.body, max_passages=settings.limits.max_documents)
    exchange.documents = len(passages)
    return render_added(await exchange.service.add(passages, exchange.deadline))


async def _delete(request: Request, given: list[str]) -> Response:
    flag = request.query_params.get("missing_ok")

    async def answer(exchange: Exchange) -> JsonValue:
        settings = exchange.settings
        if settings.read_only:
            raise ReadOnlyError
        ids = read_ids(given, max_ids=settings.limits.max_documents)
        missing_ok = read_flag(flag, "missing_ok")
        exchange.documents = len(ids)
        return render_deleted(await exchange.service.delete(ids, missing_ok=missing_ok))

    return await handle(request, answer)


def _ids(limits: Limits) -> dict[str, Any]:
    schema = {
        "type": "array",
        "minItems": 1,
        "maxItems": limits.max_documents,
        "items": ID_SCHEMA,
    }
    return parameter("id", schema, where="query", description="An id; there may be several.")


def _schema(limits: Limits) -> dict[str, Any]:
    several = schema_of(PassagesRequest, most_items={"passages": limits.max_documents})
    one = schema_of(PassageToStore)
    one["properties"]["passages"] = {"type": "null"}
    return {"anyOf": [several, one]}
