"""A request until it is answered: tries, pauses, and the time for all of them."""

import logging
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from kalm_reranker.client.connection import Connection
from kalm_reranker.client.refusals import refusal
from kalm_reranker.client.retrying import is_passing, pause_s, read_retry_after
from kalm_reranker.client.steps import Call, Outcome, Pause, Reply, Send, Steps
from kalm_reranker.errors import ClientError, ServerUnreachableError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chance:
    """What a retry depends on besides the answer.

    Attributes:
        now: A clock that never goes back, in seconds.
        jitter: Gives a random number from 0 to 1.
        new_id: Gives a new request id.
    """

    now: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex


def answered(call: Call, connection: Connection, chance: Chance) -> Steps[Reply]:
    """Sends a request until it is answered, and returns the answer, whose status is 2xx.

    It is sent again when the server is busy or not ready, when there was no connection, and, if
    `call.repeatable`, when one broke.

    Raises:
        ServerRefusedError: The server refused, or was busy to the end.
        ServerUnreachableError: There was no answer to the end.
    """
    deadline = chance.now() + connection.timeout_s
    request_id = chance.new_id()
    tries = 0
    while True:
        left_s = deadline - chance.now()
        outcome = yield Send(call, request_id, max(left_s, 0.001))
        assert outcome is not None
        tries += 1
        if isinstance(outcome, Reply) and 200 <= outcome.status < 300:
            return outcome
        pause = pause_s(tries, _asked_to_wait_s(outcome), chance.jitter())
        if (
            tries > connection.max_retries
            or not _may_repeat(outcome, call)
            or chance.now() + pause >= deadline
        ):
            raise failure(outcome, call, connection, request_id, tries)
        logger.info(
            "%s: %s; asking again in %.1f s (try %d of %d)",
            call,
            _why(outcome),
            pause,
            tries + 1,
            connection.max_retries + 1,
        )
        yield Pause(pause)


def _asked_to_wait_s(outcome: Outcome) -> float | None:
    return read_retry_after(outcome.headers) if isinstance(outcome, Reply) else None


def _may_repeat(outcome: Outcome, call: Call) -> bool:
    if isinstance(outcome, Reply):
        return is_passing(outcome.status)
    return outcome.kind == "not connected" or (outcome.kind == "broken" and call.repeatable)


def _why(outcome: Outcome) -> str:
    return f"status {outcome.status}" if isinstance(outcome, Reply) else outcome.reason


def failure(
    outcome: Outcome, call: Call, connection: Connection, request_id: str, tries: int
) -> ClientError:
    """Returns the error for a request that came to nothing.

    Args:
        outcome: Of the last try.
        call: What was asked.
        connection: Of whom.
        request_id: Under which name.
        tries: How often.
    """
    if isinstance(outcome, Reply):
        return refusal(outcome, call, request_id, tries)
    if outcome.kind == "late":
        what = f"did not answer {call} within {connection.timeout_s:g} s"
        hint = "Allow more time (timeout_s), or send less at once."
    elif outcome.kind == "not connected":
        what = f"cannot be reached ({outcome.reason})"
        hint = "Is it up? `kalm serve` starts one; base_url says where it is."
    else:
        what = f"gave no answer to {call} ({outcome.reason})"
        hint = "The server's log may have the cause under the request id."
    details = f"request id {request_id}" + (f", tried {tries} times" if tries > 1 else "")
    return ServerUnreachableError(
        f"The server at {connection.base_url} {what}. ({details})", hint=hint
    )
