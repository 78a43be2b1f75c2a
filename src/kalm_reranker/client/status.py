"""What a server says of itself; and requests that have no call of their own."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kalm_reranker.client.attempts import failure
from kalm_reranker.client.bodies import as_json
from kalm_reranker.client.connection import Connection
from kalm_reranker.client.exchange import Exchange
from kalm_reranker.client.reading import answer_in, not_json
from kalm_reranker.client.steps import Call, Reply, Send, Steps
from kalm_reranker.errors import ClientError, InvalidOptionError, shown

_METHODS = ("GET", "POST", "DELETE")
_NOT_READY = 503


@dataclass(frozen=True, slots=True)
class Health:
    """How a server is.

    Attributes:
        ready: Whether it answers requests now.
        details: What it says, such as its state and its model.
    """

    ready: bool
    details: Mapping[str, Any]


def health(connection: Connection) -> Steps[Health]:
    """Asks once how the server is."""
    call = Call(method="GET", path="/health")
    request_id = uuid.uuid4().hex
    outcome = yield Send(call, request_id, connection.timeout_s)
    assert outcome is not None
    if isinstance(outcome, Reply):
        is_ready = 200 <= outcome.status < 300
        if is_ready or outcome.status == _NOT_READY:
            try:
                return Health(is_ready, answer_in(outcome, call).values)
            except ClientError:
                if is_ready:
                    raise
                # A proxy's page, say: the refusal below tells more.
    raise failure(outcome, call, connection, request_id, 1)


def info(exchange: Exchange) -> Steps[dict[str, Any]]:
    """Returns what the server says of its model and its limits."""
    return dict((yield from exchange.ask(Call(method="GET", path="/info"))).values)


def models(exchange: Exchange) -> Steps[list[str]]:
    """Returns the names that the server's model answers to."""
    answer = yield from exchange.ask(Call(method="GET", path="/v1/models"))
    return [model.text("id") for model in answer.objects("data")]


def request(
    exchange: Exchange, method: str, path: str, body: Mapping[str, Any] | None
) -> Steps[Any]:
    """Returns the JSON that any path of the server answers."""
    if method not in _METHODS:
        raise InvalidOptionError(f"method must be {', '.join(_METHODS)}; got {shown(method)}.")
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidOptionError(f"path must begin with a slash; got {shown(path)}.")
    call = Call(
        method=method,
        path=path,
        body=None if body is None else as_json(body),
        # What a second DELETE says depends on whether the first was done.
        repeatable=method != "DELETE",
    )
    reply = yield from exchange.reply(call)
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        raise not_json(reply, call) from None
