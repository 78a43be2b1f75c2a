"""Guards everything but health probes with API keys."""

import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from kalm_reranker.server.failures import failure_of, failure_response
from kalm_reranker.server.http.paths import HEALTH_PATHS, route_path
from kalm_reranker.server.request_errors import RefusedRequestError


class KnownKeys:
    """Keys that open a server, kept as hashes.

    Args:
        keys: The keys; none: everything is open.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(_digest(key.encode()) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def open_for(self, headers: Headers) -> bool:
        """Returns whether a request shows one of the keys.

        Hashes are compared, all of them and each in constant time: how long it takes tells nothing
        about any key, nor which one it was.
        """
        shown = _digest(_shown_key(headers))
        matches = [hmac.compare_digest(shown, digest) for digest in self._digests]
        return any(matches) or not self._digests


class ApiKeys:
    """Middleware that answers 401 to whoever shows no key, before anything of a body is read.

    Args:
        app: What is guarded.
        keys: What opens it.
    """

    def __init__(self, app: ASGIApp, keys: KnownKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what shows a key."""
        if (
            scope["type"] == "lifespan"
            or route_path(scope) in HEALTH_PATHS
            or self._keys.open_for(Headers(scope=scope))
        ):
            await self._app(scope, receive, send)
            return
        failure = failure_of(
            RefusedRequestError(
                "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY.",
                status=401,
                code="unauthorized",
                headers={"www-authenticate": "Bearer"},
            )
        )
        await failure_response(failure)(scope, receive, send)


def _shown_key(headers: Headers) -> bytes:
    # Some clients fill in one header and their user the other: Authorization counts, if it is
    # of our scheme.
    scheme, _, key = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip().encode("latin-1")
    return headers.get("x-api-key", "").strip().encode("latin-1")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
