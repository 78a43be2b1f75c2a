"""From a socket without a model to a server that has ended: loading, ready, draining, stopped."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Literal, TypeAlias

from kalm_reranker.batching.listener import Listener
from kalm_reranker.errors import NotReadyError
from kalm_reranker.server.answering import Answering
from kalm_reranker.server.settings import ServerSettings

logger = logging.getLogger(__name__)

State: TypeAlias = Literal["loading", "ready", "draining", "stopped", "failed"]
Load: TypeAlias = Callable[[ServerSettings, Listener], Answering]


class Lifecycle:
    """The state of a server and its model. Used from one event loop, but for loading.

    Args:
        settings: Of the server.
        load: Makes the model ready; runs in a thread of its own.

    Attributes:
        started: When this was made, by `time.monotonic()`.
        loading_s: How long loading took; None until it has ended.
        error: Why there is no model; None if there is, or may be.
    """

    def __init__(self, settings: ServerSettings, load: Load) -> None:
        self._settings = settings
        self._load = load
        self._state: State = "loading"
        self._service: Answering | None = None
        self._thread: threading.Thread | None = None
        self._loaded: asyncio.Event = asyncio.Event()
        self._listeners: list[Callable[[Answering], None]] = []
        self.started = time.monotonic()
        self.loading_s: float | None = None
        self.error: Exception | None = None

    @classmethod
    def ready(cls, settings: ServerSettings, service: Answering) -> "Lifecycle":
        """Returns one whose model is loaded already."""
        lifecycle = cls(settings, lambda *_: service)
        lifecycle._end_loading(service, None)
        return lifecycle

    @property
    def state(self) -> State:
        """Where it has come to."""
        return self._state

    @property
    def is_loading(self) -> bool:
        """Whether the thread that loads still runs, be the server stopped or not."""
        return self._thread is not None and self._thread.is_alive()

    def service(self) -> Answering:
        """Returns the model.

        Raises:
            NotReadyError: It takes no requests.
        """
        if self._state == "ready" and self._service is not None:
            return self._service
        if self._state == "loading":
            raise NotReadyError("the model is being loaded.")
        if self._state == "failed":
            raise NotReadyError("the model could not be loaded.")
        raise NotReadyError("the server is about to stop.")

    def when_ready(self, listener: Callable[[Answering], None]) -> None:
        """Calls `listener` with the model as soon as it is loaded, or now if it is."""
        if self._service is not None:
            listener(self._service)
        else:
            self._listeners.append(listener)

    def start(self, listener: Listener) -> None:
        """Begins to load in a thread; call it in the event loop.

        Args:
            listener: Who is told of the engine's single observations.
        """
        if self._state != "loading" or self._thread is not None:
            return
        # A daemon: who stops a server that still loads does not want to wait for the download.
        self._thread = threading.Thread(
            target=self._load_in_thread,
            args=(asyncio.get_running_loop(), listener),
            name="kalm-load",
            daemon=True,
        )
        self._thread.start()

    async def loaded(self) -> None:
        """Waits until loading has ended, well or not."""
        await self._loaded.wait()

    def drain(self) -> None:
        """Takes no more requests."""
        if self._state in ("loading", "ready"):
            self._state = "draining"

    async def stop(self) -> None:
        """Closes the model; all requests must have ended."""
        if self._state == "stopped":
            return
        self._state = "stopped" if self.error is None else "failed"
        if self._service is not None:
            await asyncio.to_thread(self._service.close)

    def _load_in_thread(self, loop: asyncio.AbstractEventLoop, listener: Listener) -> None:
        service: Answering | None = None
        error: Exception | None = None
        try:
            service = self._load(self._settings, listener)
        except Exception as caught:  # the thread that serves must hear of it, whatever it is
            error = caught
        except SystemExit as caught:  # of a library; it would end this thread only
            error = RuntimeError(f"loading ended itself: {caught}")
        try:
            loop.call_soon_threadsafe(self._end_loading, service, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            if service is not None:
                service.close()

    def _end_loading(self, service: Answering | None, error: Exception | None) -> None:
        self.loading_s = time.monotonic() - self.started
        if self._state == "stopped" and service is not None:  # nobody else will close it
            service.close()
            return
        self._service = service
        self.error = error
        if self._state == "loading":
            self._state = "ready" if error is None else "failed"
        self._loaded.set()
        if service is not None:
            for listener in self._listeners:
                listener(service)
