"""Answers only requests that mean this server.

A page of any site can have its own name resolve to 127.0.0.1 and then talk to a server there, as
its own site and past all rules about origins. Its requests carry that name in the Host header.
"""

import ipaddress
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from kalm_reranker.errors import shown
from kalm_reranker.server.failures import failure_of, failure_response
from kalm_reranker.server.http.paths import HEALTH_PATHS, route_path
from kalm_reranker.server.request_errors import RefusedRequestError
from kalm_reranker.server.settings import ServerSettings

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def hosts_to_answer(settings: ServerSettings) -> frozenset[str] | None:
    """Returns the names that are answered, in lower case; None is any."""
    if "*" in settings.allowed_hosts:
        return None
    if settings.allowed_hosts:
        return frozenset(host.strip().lower() for host in settings.allowed_hosts)
    if is_loopback(settings.host):
        return frozenset((*_LOOPBACK_NAMES, settings.host.lower()))
    return None


class AllowedHosts:
    """Middleware that answers 403 to requests for another host.

    Args:
        app: What is guarded.
        hosts: Names that are answered, with or without a port.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is for this server."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        # Probes often come by address; only /health says more than that there is a server.
        if route_path(scope) in HEALTH_PATHS - {"/health"}:
            await self._app(scope, receive, send)
            return
        # None at all is HTTP/1.0, which no browser speaks.
        for host in Headers(scope=scope).getlist("host"):
            if not self._is_allowed(host.strip().lower()):
                error = RefusedRequestError(
                    f"requests for the host {shown(host)} are not answered here.",
                    hint="The server allows it with --allowed-host.",
                    status=403,
                    code="host_not_allowed",
                )
                await failure_response(failure_of(error))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_allowed(self, host: str) -> bool:
        return host in self._hosts or _without_port(host) in self._hosts


def _without_port(host: str) -> str:
    if host.startswith("["):  # [::1]:8000
        address, _, port = host[1:].partition("]")
        return address if not port or (port[0] == ":" and port[1:].isdigit()) else host
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host
