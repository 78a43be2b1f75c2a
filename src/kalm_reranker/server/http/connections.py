"""uvicorn's connections, with limits that it has none for: time and size of a request's head.

Without them anyone could hold connections open for ever by sending a byte now and then. A request's
body has limits of its own (`request_body`), and a connection that waits for its next request is
closed by uvicorn. What follows an answer that was given before the end of the body is read and
dropped for as long as a head may take, since a client that still sends may not see the answer if
the connection closes.
"""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from kalm_reranker.server.failures import Failure, render

_LARGEST_HEAD = 64 * 1024  # bytes; servers take 8 to 64 KiB, h11 takes 64

if TYPE_CHECKING:
    _Base = H11Protocol
else:
    _Base = object


class LimitedHead(_Base):
    """What both of uvicorn's protocols get.

    Attributes:
        head_timeout_s: Seconds that a head may take; set by `limited`.
        max_connections: How many there may be at once; set by `limited`.
    """

    head_timeout_s: float
    max_connections: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # uvicorn's
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Gives the first head its time."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            # Out of files, the whole process would suffer, down to the index.
            self._refuse(503, "too_many_connections", "as many connections are open as may be.")
        else:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the time."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Starts the time with the first bytes of a head and stops it at its end."""
        super().data_received(data)
        if self._is_at_work():
            self._stop_timer()
            self._head_bytes = 0
            return
        if self.transport.is_closing():
            return
        if self._timer is None:
            self._start_timer()
        self._head_bytes = self._head_bytes + len(data) if self._is_in_head() else 0
        if self._head_bytes > _LARGEST_HEAD:
            self._refuse(431, "head_too_large", f"the head has more than {_LARGEST_HEAD} bytes.")

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP."""
        self._refuse(400, "invalid_http", "this is no valid HTTP/1.1 request.")

    def _is_at_work(self) -> bool:
        """Whether a request has come and is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _is_in_head(self) -> bool:
        raise NotImplementedError

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self.head_timeout_s, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self._head_bytes:
            self._refuse(
                408,
                "head_timeout",
                f"the request's head did not arrive within {self.head_timeout_s:g} seconds.",
            )
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answers what never became a request, and closes the connection."""
        if self.transport.is_closing():
            return
        _, body = render(Failure(status=status, message=message, code=code), "standard")
        content = json.dumps(body).encode("ascii")
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + content)
        self.transport.close()


_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class LimitedH11(LimitedHead, H11Protocol):
    """Of pure Python."""

    def _is_in_head(self) -> bool:
        return self.conn.their_state is h11.IDLE


def limited(*, head_timeout_s: float, max_connections: int) -> type[asyncio.Protocol]:
    """Returns a protocol for uvicorn: httptools' where it is installed, else h11's.

    Args:
        head_timeout_s: Seconds that the head of a request may take to arrive.
        max_connections: At once; one more is answered 503 and closed.
    """
    limits = {"head_timeout_s": head_timeout_s, "max_connections": max_connections}
    return type("Limited", (_fastest(),), limits)


def _fastest() -> type[asyncio.Protocol]:
    try:
        from kalm_reranker.server.http.httptools_connections import LimitedHttpTools
    except ModuleNotFoundError:
        return LimitedH11
    return LimitedHttpTools
