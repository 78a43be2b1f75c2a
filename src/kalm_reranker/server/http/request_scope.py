"""The outermost layer: request ids, a log line, and a body we wrote for whatever goes wrong."""

import logging
import re
import time
import uuid
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kalm_reranker.server.failures import (
    STATUS_CLIENT_GONE,
    failure_of,
    failure_response,
    log_failure,
)
from kalm_reranker.server.http.paths import has_prefix, is_route
from kalm_reranker.server.metrics import route_template
from kalm_reranker.server.state import AppState

logger = logging.getLogger(__name__)

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_LONGEST_PATH = 200  # characters in the log


class RequestScope:
    """Middleware around all others.

    Args:
        app: All others.
        shared: What the app's parts share.
    """

    def __init__(self, app: ASGIApp, shared: AppState) -> None:
        self._app = app
        self._shared = shared
        prefix = shared.settings.root_path.strip("/")
        self._prefix = f"/{prefix}" if prefix else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, and writes down what became of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        scope["root_path"] = self._prefix
        if has_prefix(scope) and is_route({**scope, "root_path": ""}):
            # A proxy takes the prefix off, or leaves it: what comes as /rerank from behind a proxy
            # at /rerank is our path of that name, not the prefix with nothing behind it.
            scope["root_path"] = ""
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = _request_id(Headers(scope=scope))
        status: int | None = None
        # Who asks before sending a body, and is refused, may send it or another request next;
        # nobody can tell them apart.
        asks_first = "expect" in Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["x-content-type-options"] = "nosniff"
                is_last = self._shared.lifecycle.state == "draining"
                if is_last or (asks_first and message["status"] >= 400):
                    headers["connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            failure = failure_of(error)
            log_failure(failure, error, request_id)
            if status is None:
                response = failure_response(failure, request_id=request_id)
                await response(scope, receive, send_with_headers)
            else:
                raise  # half an answer: the connection must break, so that the client sees it
        finally:
            # No status: the client left before there was an answer.
            self._finished(scope, status or STATUS_CLIENT_GONE, time.monotonic() - started)

    def _finished(self, scope: Scope, status: int, seconds: float) -> None:
        state = scope["state"]
        code = state.get("failure_code")
        reason = "store_busy" if code == "store_busy" else None
        self._shared.metrics.request_finished(route_template(scope), status, seconds, reason=reason)
        if not self._shared.settings.log_requests:
            return
        documents = state.get("documents")
        logger.info(
            "%s %s %d %.1f ms id=%s%s%s",
            scope["method"],
            quote(scope["path"], safe="/")[:_LONGEST_PATH],
            status,
            seconds * 1000,
            state["request_id"],
            "" if documents is None else f" documents={documents}",
            "" if code is None else f" code={code}",
        )


def _request_id(headers: Headers) -> str:
    """The client's own, if a log can hold it, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _SANE_ID.match(given) else uuid.uuid4().hex
