"""A request's claim on the engine: until when, and whether anybody still waits."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from kalm_reranker.errors import (
    DeadlineExceededError,
    RequestCancelledError,
    ServiceError,
)


class Flow:
    """One request, whose work shares the engine with that of others.

    Args:
        deadline: Time of `time.monotonic()` after which none of its work is begun.
    """

    def __init__(self, deadline: float = math.inf) -> None:
        self.deadline = deadline
        self.turns_end_s = 0.0  # of the last turn that its work was given; the queue's, see there
        self.queued_s = 0.0  # between submission and the first batch, of all its work
        # Whether more work follows as soon as what was submitted is done: the engine waits for it
        # for a moment, so that requests that were encoded together are scored together.
        self.continues = False
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Drops all work that has not begun; whoever waits for it gets `RequestCancelledError`."""
        self._cancelled.set()

    def obstacle(self) -> ServiceError | None:
        """Returns why no more work is to be done for this request; None if there is no reason.

        An error of its own each time: those who raise it add their traceback.
        """
        if self._cancelled.is_set():
            return RequestCancelledError("The request was cancelled before its work was done.")
        if time.monotonic() > self.deadline:
            return DeadlineExceededError(
                "The request's time was over before its work was done.",
                hint="Send fewer or shorter documents, store passages beforehand, or allow more "
                "time.",
            )
        return None

    def check(self) -> None:
        """Raises what `obstacle` returns, if it is something.

        Raises:
            RequestCancelledError: It was cancelled.
            DeadlineExceededError: Its time is over.
        """
        obstacle = self.obstacle()
        if obstacle is not None:
            raise obstacle


_current: ContextVar[Flow | None] = ContextVar("flow", default=None)


def current_flow() -> Flow:
    """Returns the flow that the running code works for; a new one without a deadline, if none."""
    return _current.get() or Flow()


@contextmanager
def working_for(flow: Flow) -> Iterator[None]:
    """Makes a flow the current one of this thread, so that what it calls need not know of it."""
    token = _current.set(flow)
    try:
        yield
    finally:
        _current.reset(token)
