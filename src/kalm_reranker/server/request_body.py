"""Reading a request's body: only JSON, only as much as may be, only for so long."""

import asyncio
import re

from starlette.requests import Request

from kalm_reranker.errors import RequestCancelledError, shown
from kalm_reranker.server.admission import Ticket
from kalm_reranker.server.request_errors import RefusedRequestError
from kalm_reranker.server.settings import Limits

_JSON_TYPE = re.compile(r"application/(?:[a-z0-9.-]+\+)?json\Z")


def check_head(request: Request, limits: Limits) -> int:
    """Returns how many bytes a body will have, by its header; 0 if that does not say.

    Raises:
        RefusedRequestError: The body is no plain JSON (415), or too large (413).
    """
    headers = request.headers
    _check_type(headers.get("content-type"))
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        # Decompressed bodies can be a thousand times larger than what arrives.
        raise RefusedRequestError(
            f"content-encoding must be identity; got {shown(encoding)}.",
            status=415,
            code="unsupported_encoding",
            headers={"accept-encoding": "identity"},
        )
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        return 0
    if len(length) > 20 or int(length) > limits.max_body_bytes:
        raise _too_large(limits)
    return int(length)


async def read_body(request: Request, ticket: Ticket, limits: Limits) -> bytes:
    """Returns the whole body.

    Raises:
        RefusedRequestError: It is larger than it may be (413), or did not arrive in time (408).
        OverloadedError: It grew while others took the room that was left.
        RequestCancelledError: The connection was lost.
    """
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            return await _read(request, ticket, limits)
    except TimeoutError:
        raise RefusedRequestError(
            f"the body did not arrive within {limits.body_timeout_s:g} seconds.",
            status=408,
            code="body_timeout",
            headers={"connection": "close"},
        ) from None


async def _read(request: Request, ticket: Ticket, limits: Limits) -> bytes:
    parts = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise RequestCancelledError("the client has closed the connection.")
        part = message.get("body", b"")
        size += len(part)
        if size > limits.max_body_bytes:
            raise _too_large(limits)
        ticket.grow(size)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _check_type(header: str | None) -> None:
    """Refuses all but JSON.

    A missing type too: pages of other sites can send that, and a few more, without asking.
    """
    media_type, _, parameters = (header or "").partition(";")
    if not _JSON_TYPE.match(media_type.strip().lower()):
        raise RefusedRequestError(
            f"content-type must be application/json; got {shown(header) if header else 'none'}.",
            status=415,
            code="unsupported_media_type",
        )
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        charset = value.strip().strip('"').lower()
        if name.strip().lower() == "charset" and charset not in ("utf-8", "utf8", "us-ascii"):
            raise RefusedRequestError(
                f"charset must be utf-8; got {shown(charset)}.",
                status=415,
                code="unsupported_media_type",
            )


def _too_large(limits: Limits) -> RefusedRequestError:
    return RefusedRequestError(
        f"the body must have at most {limits.max_body_bytes:,} bytes; it has more.",
        status=413,
        code="body_too_large",
    )
