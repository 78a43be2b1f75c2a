"""Clients that send one request after the other, all at once, and what came of it."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from report import percentile
from serving_client import Answer, Connection, Request
from serving_server import Server, own_usage

_PAUSE_S = 0.02  # of a client that was refused, however long it should have waited
_HEAD_START_S = 0.3  # of what runs beside
_LOOK_S = 0.25  # between looks at the server's memory
FAILED = 0  # status of a request without an answer


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A request and what came of it."""

    request: Request
    seconds: float
    status: int
    answer: Answer | None  # None: none came, or it was not to be kept


@dataclass(slots=True, kw_only=True)
class Load:
    """What a number of clients met.

    Attributes:
        wall_s: From the first request to the last answer.
        exchanges: In the order in which they ended.
        server_cpu_s: Processor time of the server meanwhile.
        client_cpu_s: That of the clients, all in this process.
        server_rss_bytes: Memory of the server afterwards.
        server_peak_bytes: The most that was seen, looking a few times a second.
    """

    wall_s: float = 0.0
    exchanges: list[Exchange] = field(default_factory=list)
    server_cpu_s: float = 0.0
    client_cpu_s: float = 0.0
    server_rss_bytes: int = 0
    server_peak_bytes: int = 0

    def with_status(self, status: int) -> list[Exchange]:
        """Returns the exchanges that ended so."""
        return [exchange for exchange in self.exchanges if exchange.status == status]

    @property
    def statuses(self) -> dict[str, int]:
        """How many ended with which status; "none" without an answer."""
        counted = Counter(exchange.status for exchange in self.exchanges)
        return {str(status or "none"): counted[status] for status in sorted(counted)}

    def summary(self) -> dict[str, float]:
        """Returns requests a second and latencies in milliseconds of those that succeeded."""
        seconds = [exchange.seconds for exchange in self.with_status(200)]
        if not seconds:
            raise RuntimeError(f"no request succeeded; statuses: {self.statuses}")
        return {
            "requests": len(seconds),
            "requests_per_s": len(seconds) / self.wall_s,
            **{f"p{percent}_ms": 1e3 * percentile(seconds, percent) for percent in (50, 95, 99)},
            "server_cpu_ms": 1e3 * self.server_cpu_s / len(seconds),
            "server_cores": self.server_cpu_s / self.wall_s,
            "client_cores": self.client_cpu_s / self.wall_s,
            "server_peak_mb": self.server_peak_bytes / 1e6,
            "server_rss_mb": self.server_rss_bytes / 1e6,
        }


def offer(
    server: Server,
    next_request: Callable[[], Request],
    *,
    clients: int,
    seconds: float,
    beside: Callable[[], Request] | None = None,
    keep_answers: bool = False,
    leave: bool = False,
) -> Load:
    """Has clients send for some seconds; requests under way at their end are waited for.

    Args:
        server: Where to.
        next_request: Called for each request.
        clients: How many send, each one request at a time.
        seconds: How long new requests are sent.
        beside: Requests that one more client sends meanwhile, one after the other. They are
            not part of the result; the first is under way before anything is measured.
        keep_answers: Keep what was answered.
        leave: Close the connections at the end instead of waiting for answers.
    """
    client = _client(server, next_request, seconds, keep_answers)
    return asyncio.run(
        _offer(server, [client] * clients, beside, leave_after_s=seconds if leave else None)
    )


def send_all(server: Server, requests: Sequence[Request], *, clients: int = 1) -> Load:
    """Has clients send a number of requests, each once, and keeps the answers."""
    return asyncio.run(_send_all(server, requests, clients))


Client: TypeAlias = Callable[[Load], Coroutine[None, None, None]]


def _client(
    server: Server, next_request: Callable[[], Request], seconds: float, keep_answers: bool
) -> Client:
    async def send(load: Load) -> None:
        end = time.perf_counter() + seconds
        connection = server.connection()
        try:
            while time.perf_counter() < end:
                await _exchange(connection, next_request(), load, keep_answers)
        finally:
            await connection.close()

    return send


async def _offer(
    server: Server,
    clients: Sequence[Client],
    beside: Callable[[], Request] | None,
    leave_after_s: float | None,
) -> Load:
    load = Load()
    large: asyncio.Task[None] | None = None
    if beside is not None:
        large = asyncio.create_task(_send_for_ever(server, beside))
        await asyncio.sleep(_HEAD_START_S)
    async with _measured(load, server):
        tasks = [asyncio.create_task(client(load)) for client in clients]
        _, left = await asyncio.wait(tasks, timeout=leave_after_s)
        await _cancel(left)
        if large is not None and large.done():
            large.result()  # what ended it
    if large is not None:
        await _cancel([large])
    for task in tasks:
        if not task.cancelled():
            task.result()
    return load


async def _send_all(server: Server, requests: Sequence[Request], clients: int) -> Load:
    load = Load()
    waiting = iter(requests)

    async def client() -> None:
        connection = server.connection()
        for request in waiting:
            await _exchange(connection, request, load, True)
        await connection.close()

    async with _measured(load, server):
        await asyncio.gather(*(client() for _ in range(clients)))
    return load


async def _cancel(tasks: Iterable["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _exchange(
    connection: Connection, request: Request, load: Load, keep_answer: bool
) -> None:
    begin = time.perf_counter()
    answer: Answer | None = None
    with contextlib.suppress(OSError):  # TimeoutError is one
        answer = await connection.send(request)
    seconds = time.perf_counter() - begin
    status = FAILED if answer is None else answer.status
    keep_answer |= status != 200
    load.exchanges.append(
        Exchange(
            request=request,
            seconds=seconds,
            status=status,
            answer=answer if keep_answer else None,
        )
    )
    if status != 200:
        await asyncio.sleep(_PAUSE_S)


async def _send_for_ever(server: Server, next_request: Callable[[], Request]) -> None:
    connection = server.connection()
    try:
        while True:
            answer = await connection.send(next_request())
            if answer.status != 200:
                raise RuntimeError(f"a large request got {answer.status}: {answer.body[:500]!r}")
    finally:
        await connection.close()


class _measured:
    """Notes time, processor time and memory around a block."""

    def __init__(self, load: Load, server: Server) -> None:
        self._load, self._server = load, server

    async def __aenter__(self) -> None:
        self._begin = time.perf_counter()
        self._usage = self._server.usage(), own_usage()
        self._watch = asyncio.create_task(self._watch_memory())

    async def __aexit__(self, *_: object) -> None:
        await _cancel([self._watch])
        server, client = self._server.usage(), own_usage()
        load = self._load
        load.wall_s = time.perf_counter() - self._begin
        load.server_cpu_s = server.cpu_s - self._usage[0].cpu_s
        load.client_cpu_s = client.cpu_s - self._usage[1].cpu_s
        load.server_rss_bytes = server.rss_bytes
        load.server_peak_bytes = max(load.server_peak_bytes, server.rss_bytes)

    async def _watch_memory(self) -> None:
        while True:
            rss = self._server.usage().rss_bytes
            self._load.server_peak_bytes = max(self._load.server_peak_bytes, rss)
            await asyncio.sleep(_LOOK_S)
