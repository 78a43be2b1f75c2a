"""Starts `kalm serve` from the project's own environment, and stops it."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests_contract import plain

START_TIMEOUT_S = 120.0
"""Loading PyTorch alone takes several seconds on a busy machine."""


class Server(NamedTuple):
    """A server that runs.

    Attributes:
        url: Its root.
        key: A key that it knows.
    """

    url: str
    key: str


def free_port() -> int:
    """Returns a port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(kalm: Path, keys: Sequence[str], *arguments: str, port: int = 0) -> Iterator[Server]:
    """Runs a server on loopback with the bundled model until the block ends.

    Args:
        kalm: The command.
        keys: API keys.
        arguments: More arguments of `kalm serve`.
        port: Port to listen on; 0 for any that is free.
    """
    port = port or free_port()
    server = Server(f"http://127.0.0.1:{port}", keys[0])
    command = [str(kalm), "serve", "--model", "pico", "--port", str(port), *arguments]
    environment = {**os.environ, "KALM_API_KEYS": ",".join(keys), "OMP_NUM_THREADS": "1"}
    with (
        tempfile.TemporaryFile(mode="w+") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            _wait(server, process)
            yield server
        except BaseException:
            log.seek(0)
            print(log.read()[-20_000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"kalm serve ended with status {process.returncode}")
        try:
            if plain.request(f"{server.url}/health/ready", None)[0] == 200:
                return
        except OSError:
            pass  # not listening yet
        time.sleep(0.25)
    raise TimeoutError(f"kalm serve was not ready after {START_TIMEOUT_S:.0f} s")
