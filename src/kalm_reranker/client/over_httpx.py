"""Steps of a client in the terms of httpx, blocking or not."""

import ssl
from typing import TypedDict

import httpx

from kalm_reranker import __version__
from kalm_reranker.client.connection import Connection
from kalm_reranker.client.steps import NoReply, Reply, Send

# A server that is up accepts at once; a longer wait is a wrong address, or a firewall.
_CONNECT_S = 10.0
_USER_AGENT = f"kalm-reranker/{__version__}"

# Nothing was sent yet.
_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError)


class ClientOptions(TypedDict):
    """Arguments of `httpx.Client` and `httpx.AsyncClient`."""

    trust_env: bool
    verify: ssl.SSLContext | bool


def client_options(connection: Connection) -> ClientOptions:
    """Returns how to make an httpx client for a server."""
    if not connection.is_loopback:
        return {"trust_env": True, "verify": True}
    # Proxies that the environment names are no way to this machine itself. Without them and
    # without TLS no certificate is ever looked at: none is trusted then, which saves the 33 ms that
    # reading all of them takes.
    is_plain = connection.base_url.startswith("http:")
    return {
        "trust_env": False,
        "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_plain else True,
    }


class RequestArguments(TypedDict):
    """Arguments of `build_request`, which adds what the httpx client sends with each request."""

    method: str
    url: str
    content: bytes | None
    headers: dict[str, str]
    timeout: httpx.Timeout


def request_arguments(send: Send, connection: Connection) -> RequestArguments:
    """Returns how to make an httpx request."""
    headers = {
        "accept": "application/json",
        "user-agent": _USER_AGENT,
        "x-request-id": send.request_id,
    }
    if send.call.body is not None:
        headers["content-type"] = "application/json"
    if connection.api_key is not None:
        headers["authorization"] = f"Bearer {connection.api_key}"
    return {
        "method": send.call.method,
        "url": connection.base_url + send.call.path,
        "content": send.call.body,
        "headers": headers,
        "timeout": httpx.Timeout(send.timeout_s, connect=min(send.timeout_s, _CONNECT_S)),
    }


def as_reply(response: httpx.Response, body: bytes) -> Reply:
    """Returns an answer."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, body)


def no_reply(error: httpx.HTTPError) -> NoReply:
    """Returns what an error of httpx means."""
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if isinstance(error, _NOT_CONNECTED):
        return NoReply("not connected", reason)
    if isinstance(error, httpx.TimeoutException):
        return NoReply("late", reason)
    return NoReply("broken" if isinstance(error, _BROKEN) else "unreadable", reason)
