"""Loading, ready, draining, stopped."""

import asyncio
import threading

import pytest

from kalm_reranker.batching.listener import NoListener
from kalm_reranker.errors import InvalidCheckpointError, NotReadyError
from kalm_reranker.server.lifecycle import Lifecycle
from kalm_reranker.server.settings import ServerSettings
from tests.server.arithmetic import Arithmetic

SETTINGS = ServerSettings()


def test_from_loading_to_stopped():
    service = Arithmetic()
    go = threading.Event()
    loaded_in = []

    def load(settings, listener):
        assert settings is SETTINGS
        loaded_in.append(threading.current_thread())
        go.wait(10)
        return service

    async def work():
        lifecycle = Lifecycle(SETTINGS, load)
        seen = []
        lifecycle.when_ready(seen.append)
        lifecycle.start(NoListener())
        lifecycle.start(NoListener())  # once is enough
        assert lifecycle.state == "loading"
        with pytest.raises(NotReadyError, match="being loaded"):
            lifecycle.service()
        go.set()
        await lifecycle.loaded()
        assert lifecycle.state == "ready"
        assert lifecycle.service() is service
        assert seen == [service]
        lifecycle.when_ready(seen.append)
        assert seen == [service, service]
        lifecycle.drain()
        assert lifecycle.state == "draining"
        with pytest.raises(NotReadyError, match="about to stop"):
            lifecycle.service()
        await lifecycle.stop()
        assert lifecycle.state == "stopped"
        assert service.closed.is_set()

    asyncio.run(work())
    assert len(loaded_in) == 1
    assert loaded_in[0] is not threading.main_thread()


@pytest.mark.parametrize("error", [InvalidCheckpointError("no weights"), SystemExit(3)])
def test_loading_that_fails(error):
    def load(settings, listener):
        raise error

    async def work():
        lifecycle = Lifecycle(SETTINGS, load)
        lifecycle.start(NoListener())
        await lifecycle.loaded()
        assert lifecycle.state == "failed"
        assert lifecycle.error is error or str(lifecycle.error) == "loading ended itself: 3"
        with pytest.raises(NotReadyError, match="could not be loaded"):
            lifecycle.service()
        await lifecycle.stop()
        assert lifecycle.state == "failed"

    asyncio.run(work())


@pytest.mark.parametrize("loop_ends_first", [True, False])
def test_a_model_that_comes_after_the_end_is_closed(loop_ends_first):
    service = Arithmetic()
    go = threading.Event()

    def load(settings, listener):
        go.wait(10)
        return service

    async def work():
        lifecycle = Lifecycle(SETTINGS, load)
        lifecycle.start(NoListener())
        lifecycle.drain()
        await lifecycle.stop()
        if not loop_ends_first:
            go.set()
            while not service.closed.is_set():
                await asyncio.sleep(0.01)
        return lifecycle

    lifecycle = asyncio.run(work())
    go.set()
    assert service.closed.wait(10)
    assert lifecycle.state == "stopped"
