"""A small HTTP client that costs little processor time: the server needs the cores.

Requests are bytes that were made beforehand, over connections that stay open; an answer's body is
kept as bytes too, and read when the measurement is over.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it goes over the wire, and what its body says."""

    raw: bytes
    path: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Returns what the body says."""
        return json.loads(self.body)


def post(path: str, payload: Mapping[str, Any]) -> Request:
    """Returns a POST of JSON."""
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return Request(head.encode() + body, path, payload)


def get(path: str) -> Request:
    """Returns a GET."""
    return Request(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode(), path, {})


class Connection:
    """One client: a connection that is opened when it is needed, and again when it was closed.

    Args:
        host: Address of the server.
        port: Its port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, request: Request, *, timeout_s: float = 300.0) -> Answer:
        """Returns the answer to a request.

        Raises:
            OSError: There is no server, or it closed the connection without an answer.
            TimeoutError: There was no answer in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._send(request)
        except BaseException:
            await self.close()  # what is left of the answer must not be read as the next one's
            raise

    async def close(self) -> None:
        """Closes the connection."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _send(self, request: Request) -> Answer:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                self._host, self._port, limit=2**24
            )
        self._writer.write(request.raw)
        await self._writer.drain()
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {}
            for line in head[1:-2]:
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("the server closed the connection") from error
        if "transfer-encoding" in headers:
            raise ConnectionError("the answer has no content-length")
        if headers.get("connection", "").lower() == "close":
            await self.close()
        return Answer(int(head[0].split(" ", 2)[1]), headers, body)
