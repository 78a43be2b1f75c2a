"""Errors -> status, headers and body, in the shape that the client understands.

What clients are told is written by the server itself or comes from errors about their own input.
Messages of everything else (stores, checkpoints, files) may hold paths; they are logged only.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from starlette.responses import Response

from kalm_reranker.errors import (
    DeadlineExceededError,
    InputError,
    KalmRerankerError,
    NoIndexError,
    NotReadyError,
    OverloadedError,
    RequestCancelledError,
    RequestTooLargeError,
    StoreBusyError,
    UnknownPassageError,
)
from kalm_reranker.server.json_body import JsonObject
from kalm_reranker.server.request_errors import InvalidRequestError, RefusedRequestError

logger = logging.getLogger(__name__)

ShapeName: TypeAlias = Literal["standard", "tei"]
# Which shape answers the sender of a body; `{}` while the body is not known.
FailureShape: TypeAlias = Callable[[JsonObject], ShapeName]

STATUS_CLIENT_GONE = 499  # nginx's; nobody reads it but logs and metrics
_RETRY_NOT_READY_S = 2.0
_RETRY_STORE_BUSY_S = 1.0

# Names of the kinds of errors, as OpenAI-style clients know them.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "overloaded_error",
    499: "cancelled",
    500: "internal_error",
    503: "unavailable_error",
    504: "timeout_error",
}
# Those of text-embeddings-inference, which has no more.
_TEI_TYPES = {429: "overloaded", 500: "backend", 503: "unhealthy", 504: "backend"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a client is told instead of an answer.

    Attributes:
        status: HTTP status.
        message: One or two sentences.
        code: A name for programs.
        param: Where in the request; None if there is no such place.
        headers: Headers the status wants.
        logged: Whether it is a fault of the server, which its log must explain.
    """

    status: int
    message: str
    code: str
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    logged: bool = False


def always_standard(body: JsonObject) -> ShapeName:
    """Returns "standard"."""
    return "standard"


def tei_if_texts(body: JsonObject) -> ShapeName:
    """Returns "tei" for a body with `texts`, which nobody but TEI's clients sends."""
    return "tei" if "texts" in body else "standard"


def failure_of(error: BaseException) -> Failure:
    """Returns what a client is told of an error; nothing but "internal error" if in doubt."""
    match error:
        case RefusedRequestError():
            return Failure(
                status=error.status,
                message=_told(error),
                code=error.code,
                param=error.param,
                headers=error.headers,
            )
        case InvalidRequestError():
            return Failure(status=400, message=_told(error), code=error.code, param=error.param)
        case InputError():
            return Failure(status=400, message=error.message, code="invalid_value")
        case UnknownPassageError():
            return Failure(status=404, message=error.message, code="passage_not_found")
        case NoIndexError():
            return Failure(status=404, message=_told(error), code="no_index")
        case RequestTooLargeError():
            return Failure(status=413, message=_told(error), code="too_large")
        case OverloadedError():
            return Failure(
                status=429,
                message=error.message,
                code="overloaded",
                headers=_retry_after(error.retry_after_s),
            )
        case NotReadyError():
            return Failure(
                status=503,
                message=error.message,
                code="not_ready",
                headers=_retry_after(_RETRY_NOT_READY_S),
            )
        case StoreBusyError():
            return Failure(
                status=503,
                message="the index is being written to by another process.",
                code="store_busy",
                headers=_retry_after(_RETRY_STORE_BUSY_S),
            )
        case DeadlineExceededError():
            return Failure(status=504, message=error.message, code="deadline_exceeded")
        case RequestCancelledError():
            return Failure(
                status=STATUS_CLIENT_GONE,
                message="the client has closed the connection.",
                code="client_gone",
            )
    return Failure(status=500, message="internal error", code="internal_error", logged=True)


def failure_response(
    failure: Failure, *, shape: ShapeName = "standard", request_id: str | None = None
) -> Response:
    """Returns the response for a failure.

    Args:
        failure: What the client is told.
        shape: "tei": `{error, error_type}`, where bad values are 422; "standard": the union of
            what the other clients look for.
        request_id: Named to whoever must find the cause in the log.
    """
    message = failure.message
    if failure.logged and request_id is not None:
        message = f"{message} (request {request_id})"
    status, body = render(failure, shape, message)
    return Response(
        json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        status_code=status,
        headers={**failure.headers, "cache-control": "no-store"},
        media_type="application/json",
    )


def log_failure(failure: Failure, error: BaseException, request_id: str) -> None:
    """Writes down, with its trace, an error that the client is not told of."""
    if failure.logged:
        logger.error("request %s failed", request_id, exc_info=error)


def render(
    failure: Failure, shape: ShapeName, message: str | None = None
) -> tuple[int, dict[str, Any]]:
    """Returns status and JSON of a failure; `message` replaces its own."""
    message = message or failure.message
    if shape == "tei":
        kind = _TEI_TYPES.get(failure.status, "validation")
        status = 422 if failure.status == 400 else failure.status
        return status, {"error": message, "error_type": kind}
    error = {
        "message": message,
        "type": _TYPES.get(failure.status, "invalid_request_error"),
        "param": failure.param,
        "code": failure.code,
    }
    # Cohere's clients read `message`, those of Jina and Voyage `detail`.
    return failure.status, {"error": error, "message": message, "detail": message}


def _told(error: KalmRerankerError) -> str:
    return error.message if error.hint is None else f"{error.message} {error.hint}"


def _retry_after(seconds: float) -> dict[str, str]:
    """The header, in whole seconds: some clients cannot read any other form."""
    return {"retry-after": str(min(60, max(1, math.ceil(seconds))))}
