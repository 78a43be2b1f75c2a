"""Fills a server that takes on one request at a time."""

import socket
import time
from urllib.parse import urlsplit

from tests_contract import plain
from tests_contract.examples import CAPITAL
from tests_contract.serving import Server

_PATIENCE_S = 10.0


class Occupied:
    """A server whose only place is taken, until the block ends or `leave` is called.

    It is taken by a request whose body does not go on.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def __enter__(self) -> "Occupied":
        """Takes the place."""
        place = urlsplit(self._server.url)
        assert place.hostname is not None
        self._socket = socket.create_connection((place.hostname, place.port or 80), timeout=10)
        self._socket.sendall(
            b"POST /rerank HTTP/1.1\r\n"
            b"Host: %s\r\n"
            b"Authorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n"
            b'{"query": "' % (place.netloc.encode(), self._server.key.encode())
        )
        self._wait_for(429)
        return self

    def __exit__(self, *exception: object) -> None:
        """Leaves the place, and waits until the server has noticed."""
        self.leave()
        self._wait_for(200)

    def leave(self) -> None:
        """Leaves the place."""
        self._socket.close()

    def _wait_for(self, status: int) -> None:
        body = {"query": CAPITAL.query, "documents": list(CAPITAL.documents)}
        deadline = time.monotonic() + _PATIENCE_S
        while (got := plain.request(f"{self._server.url}/rerank", self._server.key, body))[
            0
        ] != status:
            assert time.monotonic() < deadline, f"no {status} but {got}"
            time.sleep(0.02)
