"""The one way a request for the model is processed, from its head to its answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from kalm_reranker.errors import DeadlineExceededError
from kalm_reranker.server.admission import Ticket
from kalm_reranker.server.answering import Answering, ModelFacts
from kalm_reranker.server.disconnects import interrupt_if_client_leaves
from kalm_reranker.server.failures import (
    FailureShape,
    always_standard,
    failure_of,
    failure_response,
    log_failure,
)
from kalm_reranker.server.json_body import MAX_VALUES, JsonObject, JsonValue, parse_json
from kalm_reranker.server.request_body import check_head, read_body
from kalm_reranker.server.settings import Limits, ServerSettings
from kalm_reranker.server.state import state_of

_T = TypeVar("_T")

_SMALL_BODY = 64 * 1024  # bytes that are parsed, and whose answer is rendered, in the event loop
_FEW_DOCUMENTS = 100  # whose answer is rendered in the event loop
_VALUES_PER_DOCUMENT = 100  # fields and metadata that a document may have, on average
_METHODS_WITH_BODY = ("POST", "PUT", "PATCH")


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What an endpoint gets to make its answer from.

    Attributes:
        body: The request's JSON; `{}` for methods without one.
        service: The model, ready.
        settings: Of the server.
        facts: Of the model.
        deadline: When the answer must be there, by `time.monotonic()`.
        request_id: The request's; also in the response's header.
        documents: How many documents or pairs it is about; endpoints set it, for the log.
    """

    body: JsonObject
    service: Answering
    settings: ServerSettings
    facts: ModelFacts
    deadline: float
    request_id: str
    documents: int | None = None


Answer: TypeAlias = Callable[[Exchange], Awaitable[JsonValue]]


async def handle(
    request: Request, answer: Answer, *, shape: FailureShape = always_standard
) -> Response:
    """Returns the response to a request that needs the model.

    The order: is the model ready, is the head acceptable, is there room, body, JSON, answer. The
    room is given back when the answer is rendered. The work is cancelled if the client leaves, the
    time is over or the server stops.

    Args:
        request: The request; its body has not been read.
        answer: Makes the answer, as something that JSON can say.
        shape: In which shape the sender of a body is told of failures.
    """
    body: JsonObject = {}
    request_id = request.state.request_id
    try:
        app = state_of(request.app)
        service = app.lifecycle.service()
        facts = service.facts()
        limits = app.settings.limits
        has_body = request.method in _METHODS_WITH_BODY
        size = check_head(request, limits) if has_body else 0
        with app.admission.enter(size) as ticket, _time_limit(ticket, limits):
            if has_body:
                raw = await _unless_interrupted(read_body(request, ticket, limits), ticket)
                size = len(raw)
                body = await _parse(raw, limits)
                del raw  # it would wait here for the answer
            exchange = Exchange(
                body=body,
                service=service,
                settings=app.settings,
                facts=facts,
                deadline=ticket.since + limits.request_timeout_s,
                request_id=request_id,
            )
            try:
                value = await _answer(request, answer, exchange, ticket)
            finally:
                request.state.documents = exchange.documents
            is_large = size > _SMALL_BODY or (exchange.documents or 0) > _FEW_DOCUMENTS
            return await _respond(value, large=is_large)
    except Exception as error:  # whatever it is, the client gets a body it can read
        failure = failure_of(error)
        log_failure(failure, error, request_id)
        request.state.failure_code = failure.code
        return failure_response(failure, shape=shape(body), request_id=request_id)


@contextmanager
def _time_limit(ticket: Ticket, limits: Limits) -> Iterator[None]:
    """Interrupts a request when its time is over."""
    seconds = limits.request_timeout_s
    error = DeadlineExceededError(f"the answer was not ready within {seconds:g} seconds.")
    timer = asyncio.get_running_loop().call_later(seconds, ticket.interrupt, error)
    try:
        yield
    finally:
        timer.cancel()


async def _parse(raw: bytes, limits: Limits) -> JsonObject:
    max_values = max(MAX_VALUES, _VALUES_PER_DOCUMENT * limits.max_documents)
    if len(raw) <= _SMALL_BODY:
        return parse_json(raw, max_values=max_values)
    return await asyncio.to_thread(parse_json, raw, max_values=max_values)


async def _answer(
    request: Request, answer: Answer, exchange: Exchange, ticket: Ticket
) -> JsonValue:
    async def made() -> JsonValue:
        return await answer(exchange)

    watch = asyncio.create_task(interrupt_if_client_leaves(request.receive, ticket))
    try:
        return await _unless_interrupted(made(), ticket)
    finally:
        watch.cancel()


async def _unless_interrupted(work: Coroutine[Any, Any, _T], ticket: Ticket) -> _T:
    """Returns the result of `work`; cancels it and raises the reason if the ticket ends first."""
    task = asyncio.ensure_future(work)
    try:
        either: tuple[asyncio.Future[Any], ...] = (task, ticket.interrupted)
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})  # it may have to clean up
        return ticket.interrupted.result()  # type: ignore[return-value]  # raises
    finally:
        # It still runs if this coroutine is cancelled itself. What it ended with, besides the
        # interruption, is of no interest; asyncio need not complain that nobody looked.
        task.add_done_callback(_look_at_error)
        task.cancel()


def _look_at_error(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()


async def _respond(value: JsonValue, *, large: bool) -> Response:
    rendered = await asyncio.to_thread(_render, value) if large else _render(value)
    return Response(rendered, media_type="application/json", headers={"cache-control": "no-store"})


def _render(value: JsonValue) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8")
