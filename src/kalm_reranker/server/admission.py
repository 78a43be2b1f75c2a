"""Which requests are accepted: a bounded number, with a bounded number of bytes in their bodies."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kalm_reranker.errors import KalmRerankerError, OverloadedError
from kalm_reranker.server.settings import Limits

# How much of the average of service times the last one is.
_NEWEST_SHARE = 0.1
_FIRST_GUESS_S = 1.0


class Ticket:
    """An accepted request.

    Args:
        admission: What accepted it.
        size: Bytes reserved for its body.

    Attributes:
        since: When it was accepted, by `time.monotonic()`.
        interrupted: Has an exception as soon as the request must end early, and says why.
    """

    def __init__(self, admission: "Admission", size: int) -> None:
        self._admission = admission
        self.size = size
        self.since = time.monotonic()
        self.interrupted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def grow(self, size: int) -> None:
        """Reserves room for a body that turns out to be of `size` bytes or more.

        Raises:
            OverloadedError: There is none.
        """
        more = size - self.size
        if more > 0:
            self._admission.reserve(more)
            self.size = size

    def interrupt(self, error: KalmRerankerError) -> None:
        """Ends the request with `error`, unless it ends already."""
        if not self.interrupted.done():
            self.interrupted.set_exception(error)


class Admission:
    """Counts requests between acceptance and answer. Used from one event loop.

    Args:
        limits: How many there may be.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tickets: set[Ticket] = set()
        self._bytes = 0
        self._average_s: float | None = None

    @property
    def requests(self) -> int:
        """Requests that are accepted and not answered yet."""
        return len(self._tickets)

    @property
    def bytes(self) -> int:
        """Bytes reserved for their bodies."""
        return self._bytes

    @property
    def retry_after_s(self) -> float:
        """Seconds after which a refused request should find room.

        What is accepted now is answered after about one service time, and then all the room there
        is has been free at least once; whoever comes back at once would only be refused again.
        """
        return min(60.0, max(1.0, self._average_s or _FIRST_GUESS_S))

    @contextmanager
    def enter(self, size: int) -> Iterator[Ticket]:
        """Accepts a request until the end of the `with` block.

        Args:
            size: Bytes of its body, as far as they are known.

        Raises:
            OverloadedError: There is no room.
        """
        if len(self._tickets) >= self._limits.max_pending_requests:
            raise self._refused("as many requests as may wait are waiting.")
        self.reserve(size)
        ticket = Ticket(self, size)
        self._tickets.add(ticket)
        try:
            yield ticket
        except BaseException:
            self._leave(ticket)
            raise
        else:
            self._leave(ticket)
            self._observe(time.monotonic() - ticket.since)

    def reserve(self, size: int) -> None:
        """Adds to the bytes of bodies.

        Raises:
            OverloadedError: There would be too many.
        """
        if self._bytes + size > self._limits.max_pending_bytes:
            raise self._refused("the bodies of waiting requests take as many bytes as they may.")
        self._bytes += size

    def interrupt_all(self, error: KalmRerankerError) -> None:
        """Ends all requests with `error`."""
        for ticket in list(self._tickets):
            ticket.interrupt(error)

    def _leave(self, ticket: Ticket) -> None:
        self._tickets.discard(ticket)
        self._bytes -= ticket.size
        if not ticket.interrupted.cancel() and not ticket.interrupted.cancelled():
            ticket.interrupted.exception()  # has been seen: asyncio need not complain

    def _observe(self, seconds: float) -> None:
        if self._average_s is None:
            self._average_s = seconds
        else:
            self._average_s += _NEWEST_SHARE * (seconds - self._average_s)

    def _refused(self, message: str) -> OverloadedError:
        return OverloadedError(message, retry_after_s=self.retry_after_s)
