"""A server as a process: it listens, loads, answers, and ends when it is told to.

SIGTERM or SIGINT: no new requests for the model (503, also for `/health/ready`), those accepted are
finished, then the model is closed. A second signal ends the accepted ones with 503, a third one the
process.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from kalm_reranker.errors import EngineError, KalmRerankerError, NotReadyError
from kalm_reranker.server.app import build_app
from kalm_reranker.server.http.allowed_hosts import is_loopback
from kalm_reranker.server.http.connections import limited
from kalm_reranker.server.lifecycle import Lifecycle, Load
from kalm_reranker.server.listening import listen, url_of
from kalm_reranker.server.memory import share_arenas
from kalm_reranker.server.open_files import allow_open_files, most_connections
from kalm_reranker.server.settings import ServerSettings
from kalm_reranker.server.state import state_of

logger = logging.getLogger(__name__)

Announce = Callable[[str], None]

_POLL_S = 0.02
# Longer than clients and proxies keep a connection that they do not use (up to a minute): else one
# of them sends a request just when it is closed here, and gets no answer.
_KEEP_ALIVE_S = 75
_LAST_BYTES_S = 5  # for clients that are slow to read their answers
_LAST_BYTES_IN_HURRY_S = 1
_SIGNALS = uvicorn.server.HANDLED_SIGNALS


def serve(settings: ServerSettings, load: Load, *, announce: Announce) -> None:
    """Serves until a signal ends it.

    Args:
        settings: Of the server.
        load: Loads the model; runs in a thread, while the socket answers 503.
        announce: Takes what whoever started the server should see, a line at a time.

    Raises:
        KalmRerankerError: It cannot listen, or the model cannot be loaded.
    """
    allow_open_files(settings.limits)
    share_arenas()
    sockets = listen(settings.host, settings.port)
    if not settings.api_keys and not is_loopback(settings.host):
        announce(
            f"warning: {settings.host} can be reached from other machines and no API key is set: "
            "whoever reaches it may use it (KALM_API_KEYS, --api-key-file)"
        )
    if settings.log_requests:
        logging.getLogger("kalm_reranker.server").setLevel(logging.INFO)
    lifecycle = Lifecycle(settings, load)
    server = Server(build_app(settings, lifecycle), settings, announce=announce)
    server.run(sockets=sockets)
    if lifecycle.is_loading:
        _end_process()
    if isinstance(lifecycle.error, KalmRerankerError):
        raise lifecycle.error
    if lifecycle.error is not None:
        logger.error("loading failed", exc_info=lifecycle.error)
        raise EngineError(
            f"the model could not be loaded: {type(lifecycle.error).__name__}: {lifecycle.error}"
        )


class Server(uvicorn.Server):
    """uvicorn's server, with our way to its end.

    Args:
        app: Of `build_app`.
        settings: The same.
        announce: As in `serve`.
    """

    def __init__(self, app: FastAPI, settings: ServerSettings, *, announce: Announce) -> None:
        super().__init__(_config(app, settings))
        self._shared = state_of(app)
        self._announce = announce
        self._hurry = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, says so, and then loads the model."""
        await super().startup(sockets=sockets)
        for listening in sockets or ():
            self._announce(f"listening on {url_of(listening)}")
        self._watching = asyncio.create_task(self._watch_loading())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finishes what was accepted, and answers 503 to the rest meanwhile."""
        self._watching.cancel()
        admission = self._shared.admission
        limit_s = self._shared.settings.limits.drain_timeout_s
        self._shared.lifecycle.drain()
        if admission.requests:
            self._announce(f"finishing {admission.requests} requests")
        end = time.monotonic() + limit_s
        while admission.requests and time.monotonic() < end and not self._hurry:
            await asyncio.sleep(_POLL_S)
        if admission.requests:
            self._announce(f"ending {admission.requests} requests that are not finished")
            admission.interrupt_all(NotReadyError("the server stops."))
        if self._hurry:
            self.config.timeout_graceful_shutdown = _LAST_BYTES_IN_HURRY_S
        await super().shutdown(sockets=sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes signals while the server runs; unlike uvicorn, does not die of them afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to end the server; then ends what is being finished; then just ends."""
        if self._hurry:
            os._exit(1)  # whatever hangs, only this helps
        self._hurry = self.should_exit
        self.should_exit = True

    async def _watch_loading(self) -> None:
        lifecycle = self._shared.lifecycle
        await lifecycle.loaded()
        if lifecycle.error is not None:
            self.should_exit = True
        elif lifecycle.state == "ready":
            name = lifecycle.service().facts().name
            self._announce(f"ready: {name}, loaded in {lifecycle.loading_s:.1f} s")


def _config(app: FastAPI, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=limited(
            head_timeout_s=settings.limits.body_timeout_s,
            max_connections=most_connections(settings.limits),
        ),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",  # what clients do wrong is in their answers
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here depends on who asks
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_LAST_BYTES_S,
    )


def _end_process() -> None:
    """Ends a process whose model is still being loaded.

    A thread inside of PyTorch or a download cannot be stopped, and the interpreter's own end may
    crash on it. Nothing was accepted, and nothing is open for writing.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)
