"""GET /metrics."""

from fastapi import APIRouter, Request, Response

from kalm_reranker.server.failure_models import failure_responses
from kalm_reranker.server.metrics import ServerMetrics

router = APIRouter()


@router.get(
    "/metrics",
    tags=["operation"],
    summary="Numbers for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "Counters, gauges and histograms; docs/serving.md explains them.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **failure_responses(401, 403, 500),
    },
)
async def metrics(request: Request) -> Response:
    """Returns all numbers in Prometheus' text format, or OpenMetrics where it is asked for.

    It answers while the model loads, too; the numbers of the engine are then missing.
    """
    numbers: ServerMetrics = request.app.state.metrics
    content, content_type = numbers.text(request.headers.get("accept", ""))
    return Response(content, headers={"content-type": content_type})
