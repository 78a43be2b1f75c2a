"""POST /rerank and all its names."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from kalm_reranker.server.failure_models import OF_ANY_BODY, failure_responses
from kalm_reranker.server.failures import ShapeName
from kalm_reranker.server.handling import Exchange, handle
from kalm_reranker.server.json_body import JsonObject, JsonValue
from kalm_reranker.server.settings import Limits, ServerSettings
from kalm_reranker.server.wire import examples
from kalm_reranker.server.wire.documents import ANY_OBJECT_SCHEMA
from kalm_reranker.server.wire.envelope import envelope
from kalm_reranker.server.wire.fields import TEXT_SCHEMA
from kalm_reranker.server.wire.openapi import json_body, same_body, schema_of
from kalm_reranker.server.wire.rerank_request import (
    RerankRequest,
    TEIRequest,
    is_tei,
    read_rerank,
)
from kalm_reranker.server.wire.rerank_response import (
    RerankResponse,
    TEIResponse,
    render_rerank,
)

# As clients of the several APIs build them from the address of a server.
PATHS: Final = (
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/v1/v2/rerank",
    "/reranking",
    "/v1/reranking",
    "/invocations",
)


def make_router(settings: ServerSettings) -> APIRouter:
    """Returns the routes, documented with the limits of a server."""
    router = APIRouter()
    body = json_body(_schema(settings.limits), examples.RERANK)
    for path in PATHS:
        is_alias = path != PATHS[0]
        router.add_api_route(
            path,
            rerank,
            methods=["POST"],
            tags=["rerank"],
            summary=f"As {PATHS[0]}" if is_alias else "Rank documents by relevance",
            operation_id=f"rerank{path.replace('/', '_')}",
            response_model=RerankResponse | TEIResponse,
            responses=failure_responses(*OF_ANY_BODY, 404, 422, tei=True),
            openapi_extra=same_body(PATHS[0]) if is_alias else body,
        )
    return router


async def rerank(request: Request) -> Response:
    """Scores documents against a query and returns them, the best first.

    One endpoint for clients of Cohere (v1 and v2), Jina, Voyage, vLLM, Infinity, llama.cpp and
    KaLM: results have what each of them looks for. A body with `texts` is answered as
    text-embeddings-inference does, with a bare list of all texts. Documents may be stored passages,
    `{"id": ...}`, which are not encoded again. Whatever was cut is listed in `meta.truncated`.
    """
    return await handle(request, _answer, shape=_shape)


async def _answer(exchange: Exchange) -> JsonValue:
    settings = exchange.settings
    wanted = read_rerank(exchange.body, max_documents=settings.limits.max_documents)
    frame = envelope(wanted.model, exchange.facts, settings, request_id=exchange.request_id)
    exchange.documents = len(wanted.documents)
    result = await exchange.service.score(wanted.call, exchange.deadline)
    return render_rerank(wanted, result, frame)


def _shape(body: JsonObject) -> ShapeName:
    return "tei" if is_tei(body) else "standard"


def _schema(limits: Limits) -> dict[str, Any]:
    plain = schema_of(RerankRequest, most_items={"documents": limits.max_documents})
    fields = schema_of(RerankRequest, most_items={"documents": limits.max_documents})
    fields["title"] = "RerankRequest with rank_fields"
    fields["required"] += ["rank_fields"]
    names = fields["properties"]["rank_fields"]
    names["anyOf"] = [{**part, "minItems": 1} for part in names["anyOf"] if "items" in part]
    fields["properties"]["documents"]["items"] = {"anyOf": [TEXT_SCHEMA, ANY_OBJECT_SCHEMA]}
    tei = schema_of(TEIRequest, most_items={"texts": limits.max_documents})
    return {"anyOf": [plain, fields, tei]}
