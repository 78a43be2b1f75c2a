"""`kalm serve` as a process of its own, for the time of a measurement."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from serving_client import Answer, Connection, Request, get

_COMMAND = "from kalm_reranker.cli.main import main; main()"
_ADDRESS = re.compile(r"https?://(127\.0\.0\.1|localhost):(\d+)")
_START_S = 300.0  # a large model, a compiled engine
_STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used so far; memory is what it holds now."""

    cpu_s: float
    rss_bytes: int


class Server:
    """A running server.

    Args:
        process: The process.
        host: Its address.
        port: Its port.
        start_s: Seconds from its start until it was ready.
    """

    def __init__(
        self, process: "subprocess.Popen[bytes]", host: str, port: int, start_s: float
    ) -> None:
        self._process = process
        self._usage = psutil.Process(process.pid)
        self.host, self.port, self.start_s = host, port, start_s

    def connection(self) -> Connection:
        """Returns a new client."""
        return Connection(self.host, self.port)

    def ask(self, request: Request) -> Answer:
        """Returns the answer to a single request; not from inside an event loop."""
        return asyncio.run(_ask(self.connection(), request))

    def usage(self) -> Usage:
        """Returns what the server used so far."""
        times = self._usage.cpu_times()
        return Usage(times.user + times.system, self._usage.memory_info().rss)


@contextmanager
def serving(arguments: Sequence[str]) -> Iterator[Server]:
    """Runs `kalm serve` until the block ends.

    Args:
        arguments: Of `kalm serve`, but for host and port.

    Raises:
        RuntimeError: It did not start, or did not end with status 0 when it was asked to.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        command = [sys.executable, "-c", _COMMAND, "serve", "--host", "127.0.0.1", "--port", "0"]
        begin = time.monotonic()
        with log.open("wb") as stderr:  # a file: nobody has to read along, as with a pipe
            process = subprocess.Popen(
                [*command, *arguments], stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr
            )
        try:
            host, port = _address(process, log, begin)
            _wait_until_ready(process, host, port, log, begin)
            yield Server(process, host, port, time.monotonic() - begin)
            if process.poll() is not None:
                raise RuntimeError(f"the server ended early:\n{_end_of(log)}")
            process.send_signal(signal.SIGTERM)
            if process.wait(_STOP_S) != 0:
                raise RuntimeError(f"the server ended with {process.returncode}:\n{_end_of(log)}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def own_usage() -> Usage:
    """Returns what this process, the load generator, used so far."""
    times = os.times()
    return Usage(times.user + times.system, psutil.Process().memory_info().rss)


async def _ask(connection: Connection, request: Request) -> Answer:
    try:
        return await connection.send(request)
    finally:
        await connection.close()


def _address(process: "subprocess.Popen[bytes]", log: Path, begin: float) -> tuple[str, int]:
    while time.monotonic() - begin < _START_S and process.poll() is None:
        found = _ADDRESS.search(log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[1], int(found[2])
        time.sleep(0.05)
    raise RuntimeError(f"`kalm serve` named no address:\n{_end_of(log)}")


def _wait_until_ready(
    process: "subprocess.Popen[bytes]", host: str, port: int, log: Path, begin: float
) -> None:
    while time.monotonic() - begin < _START_S and process.poll() is None:
        try:
            if asyncio.run(_ask(Connection(host, port), get("/health/ready"))).status == 200:
                return
        except OSError:
            pass  # it says its address before it listens
        time.sleep(0.05)
    raise RuntimeError(f"`kalm serve` did not become ready:\n{_end_of(log)}")


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
