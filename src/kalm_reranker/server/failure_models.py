"""What failures look like, for the OpenAPI document; `failures` makes them."""

from typing import Any

from pydantic import BaseModel, Field

_MEANINGS = {
    400: "The body is no JSON, or a value in it is not usable.",
    401: "No API key, or a wrong one.",
    403: "Not allowed here: another host, or a change to a read-only server.",
    404: "No such model, passage or index.",
    408: "The body did not arrive in time.",
    413: "Too many documents, or too large a body.",
    415: "The body is not declared as plain JSON.",
    422: "As 400, for clients of text-embeddings-inference.",
    429: "As many requests wait as may; Retry-After says when to come again.",
    500: "A fault of the server; its log has the request's id.",
    503: "Loading, about to stop, or the index is busy; Retry-After says when to come again.",
    504: "The answer was not ready in time.",
}
# Which of them say in a header how to go on.
_HEADERS = {
    401: ("WWW-Authenticate", "string"),
    429: ("Retry-After", "integer"),
    503: ("Retry-After", "integer"),
}
# What any request with a body may meet.
OF_ANY_BODY = (400, 401, 403, 408, 413, 415, 429, 500, 503, 504)


class FailureDetail(BaseModel):
    """What was wrong, for programs."""

    message: str = Field(description="One or two sentences.")
    type: str = Field(
        description="The kind of error, as of its status.", examples=["timeout_error"]
    )
    param: str | None = Field(description="Where in the request.", examples=["documents.3.text"])
    code: str = Field(description="The error's name.", examples=["invalid_value"])


class FailureBody(BaseModel):
    """The message under each of the names that clients look for."""

    error: FailureDetail
    message: str
    detail: str


class TeiFailureBody(BaseModel):
    """For bodies with `texts`: what clients of text-embeddings-inference read."""

    error: str
    error_type: str = Field(examples=["validation", "overloaded", "unhealthy", "backend"])


def failure_responses(*statuses: int, tei: bool = False) -> dict[int | str, dict[str, Any]]:
    """Returns the `responses` of an endpoint's declaration.

    Args:
        statuses: That it may answer with.
        tei: Whether its failures also have the other shape.
    """
    model: Any = FailureBody | TeiFailureBody if tei else FailureBody
    responses: dict[int | str, dict[str, Any]] = {}
    for status in sorted(set(statuses)):
        response: dict[str, Any] = {"model": model, "description": _MEANINGS[status]}
        if status == 422:
            response["model"] = TeiFailureBody
        if status in _HEADERS:
            name, kind = _HEADERS[status]
            response["headers"] = {name: {"schema": {"type": kind}}}
        responses[status] = response
    return responses
