"""`/health`, `/health/live`, `/health/ready`, `/ping`: for those who watch the server."""

import time
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from kalm_reranker.errors import NotReadyError
from kalm_reranker.server.answering import ModelFacts
from kalm_reranker.server.failures import failure_of
from kalm_reranker.server.http.api_keys import KnownKeys
from kalm_reranker.server.memory import resident_bytes
from kalm_reranker.server.state import AppState, state_of

router = APIRouter(tags=["health"])


class Liveness(BaseModel):
    """Whether waiting may help: "failed" is an engine that has stopped, and will not come back."""

    status: Literal["alive", "failed"]


class Readiness(BaseModel):
    """Whether requests for the model are answered.

    "failed" is a model that could not be loaded, or an engine that has stopped.
    """

    status: Literal["ok", "loading", "draining", "stopped", "failed"]


class Health(Readiness):
    """State, model and load; without an API key where keys are set: `status` only."""

    model_config = ConfigDict(protected_namespaces=())

    model: str | None = None
    fingerprint: str | None = Field(None, description="Hash of config, tokenizer and weights.")
    query_max_length: int | None = Field(None, description="Tokens.")
    max_length: int | None = Field(None, description="Tokens of a document, prefix included.")
    long_documents: str | None = None
    compression_ratio: int | None = None
    dtype: str | None = None
    device: str | None = None
    engine: str | None = None
    quantization: str | None = None
    index_passages: int | None = None
    memory_bytes: int | None = Field(None, description="Resident memory of the process.")
    uptime_s: float | None = None
    loading_s: float | None = None
    pending_requests: int | None = None


_OF_FACTS = tuple(name for name in ModelFacts.__dataclass_fields__ if name in Health.model_fields)
_UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    503: {"model": Readiness, "description": "Loading, draining or failed."}
}


@router.get(
    "/health/live",
    response_model=Liveness,
    responses={503: {"model": Liveness, "description": "Only a restart helps."}},
    summary="Does the process work?",
)
@router.head("/health/live", include_in_schema=False)
async def live(request: Request) -> Response:
    """200 as long as the process works, also while it loads or drains."""
    if _status(state_of(request.app))[0] == "failed":
        return _respond(503, {"status": "failed"})
    return _respond(200, {"status": "alive"})


@router.get(
    "/health/ready",
    response_model=Readiness,
    responses=_UNAVAILABLE,
    summary="Are requests answered?",
)
@router.get(
    "/ping", response_model=Readiness, responses=_UNAVAILABLE, summary="As /health/ready, for AWS"
)
@router.head("/health/ready", include_in_schema=False)
@router.head("/ping", include_in_schema=False)
async def ready(request: Request) -> Response:
    """200 if the model answers, 503 while it is loaded or the server ends."""
    status, _, retry = _status(state_of(request.app))
    return _respond(200 if status == "ok" else 503, {"status": status}, retry)


@router.get(
    "/health",
    response_model=Health,
    responses={503: {"model": Health, "description": "Loading, draining or failed."}},
    summary="State, model and load",
)
@router.head("/health", include_in_schema=False)
async def health(request: Request) -> Response:
    """State, model, lengths, memory. Without an API key, where keys are set: the state only."""
    app = state_of(request.app)
    status, facts, retry = _status(app)
    body: dict[str, Any] = {"status": status}
    if KnownKeys(app.settings.api_keys).open_for(request.headers):
        if facts is not None:
            values = asdict(facts)
            body |= {name: values[name] for name in _OF_FACTS}
            body["model"] = facts.name
        body |= {
            "memory_bytes": resident_bytes(),
            "uptime_s": round(time.monotonic() - app.lifecycle.started, 3),
            "loading_s": app.lifecycle.loading_s and round(app.lifecycle.loading_s, 3),
            "pending_requests": app.admission.requests,
        }
    return _respond(200 if status == "ok" else 503, body, retry)


def _status(app: AppState) -> tuple[str, ModelFacts | None, dict[str, str]]:
    """The state in a word, the model if it answers, and the headers if it does not."""
    try:
        return "ok", app.lifecycle.service().facts(), {}
    except NotReadyError as error:
        state = app.lifecycle.state
        return (
            "failed" if state == "ready" else state,  # loaded, but its engine has stopped
            None,
            dict(failure_of(error).headers),
        )


def _respond(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(
        body, status_code=status, headers={**(headers or {}), "cache-control": "no-store"}
    )
