"""Servers on loopback that end with the test."""

from contextlib import ExitStack

import pytest

from tests.server.arithmetic import Arithmetic
from tests.server.running import RunningServer, ServerProcess, add_probe, client_of


@pytest.fixture
def stack():
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def start(stack):
    """Starts servers in this process, with /probe; arguments as of `RunningServer`."""

    def started(service=None, **options):
        if service is None and "load" not in options:
            service = Arithmetic()
        running = RunningServer(service, prepare=add_probe, **options)
        stack.callback(running.stop)
        return running

    return started


@pytest.fixture
def start_process(stack):
    """Starts servers in processes; arguments as of `ServerProcess`."""

    def started(*command, **environment):
        running = ServerProcess(*command, **environment)
        stack.callback(running.close)
        return running

    return started


@pytest.fixture
def connect(stack):
    """HTTP clients of running servers."""

    def connected(server, **options):
        return stack.enter_context(client_of(server, **options))

    return connected
