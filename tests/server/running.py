"""Real servers on loopback: in a thread of this process, or in a process of their own."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
from fastapi import Request

from kalm_reranker.server.app import build_app
from kalm_reranker.server.calls import DocumentInput, ScoreCall
from kalm_reranker.server.handling import handle
from kalm_reranker.server.lifecycle import Lifecycle
from kalm_reranker.server.listening import listen, url_of
from kalm_reranker.server.run import Server
from kalm_reranker.server.settings import ServerSettings

PATIENCE_S = 30


class RunningServer:
    """A server in a thread.

    Args:
        service: What answers; ready at once, unless `load` is given.
        load: Loads it.
        settings: Fields of `ServerSettings`.
        prepare: Gets the app before it starts, to add routes.
    """

    def __init__(self, service=None, *, load=None, prepare=None, **settings):
        self.settings = ServerSettings(**{"port": 0, **settings})
        self.lifecycle = (
            Lifecycle(self.settings, load) if load else Lifecycle.ready(self.settings, service)
        )
        self.app = build_app(self.settings, self.lifecycle)
        if prepare is not None:
            prepare(self.app)
        self.announced = []
        self.server = Server(self.app, self.settings, announce=self.announced.append)
        sockets = listen(self.settings.host, self.settings.port)
        self.port = sockets[0].getsockname()[1]
        self.url = url_of(sockets[0])
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": sockets})
        self.thread.start()
        wait_until(lambda: self.server.started)

    @property
    def admission(self):
        return self.app.state.admission

    def signal(self):
        """What SIGTERM does in a process."""
        self.server.handle_exit(signal.SIGTERM, None)

    def stop(self):
        if self.thread.is_alive():
            self.signal()
            self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


class ServerProcess:
    """A server in a process of its own.

    Args:
        command: What Python runs.
        environment: Variables besides those of this process.
    """

    def __init__(self, *command, **environment):
        self.lines = []
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def line_with(self, text):
        """The first line of stderr that holds `text`, as soon as there is one."""
        wait_until(
            lambda: any(text in line for line in self.lines) or self.process.poll() is not None
        )
        found = [line for line in self.lines if text in line]
        assert found, self.lines
        return found[0]

    @property
    def url(self):
        return re.search(r"http://\S+", self.line_with("listening on")).group()

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def ended(self):
        """Exit code, once it has ended."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.ended()
        self.process.stderr.close()


def add_probe(app):
    """Adds an endpoint of the simplest shape: POST /probe {query, documents} -> {margins}."""

    async def answer(exchange):
        texts = exchange.body.get("documents", [])
        exchange.documents = len(texts)
        result = await exchange.service.score(
            ScoreCall(
                queries=(exchange.body.get("query", ""),),
                documents=tuple(DocumentInput(text=text) for text in texts),
                pairs=tuple((0, index) for index in range(len(texts))),
            ),
            exchange.deadline,
        )
        return {"margins": [pair.margin for pair in result.pairs], "id": exchange.request_id}

    async def probe(request: Request):
        return await handle(request, answer)

    app.add_api_route("/probe", probe, methods=["POST", "DELETE"], include_in_schema=False)


@contextmanager
def shared_client(service, **options):
    """A client of a server with /probe, for tests that change nothing."""
    server = RunningServer(service, prepare=add_probe, **options)
    try:
        with client_of(server) as client:
            yield client
    finally:
        server.stop()


def wait_until(condition, seconds=PATIENCE_S):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def client_of(server, **options):
    return httpx.Client(base_url=server.url, timeout=PATIENCE_S, trust_env=False, **options)
