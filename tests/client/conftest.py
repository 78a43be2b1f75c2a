"""A server that does as told, and clients of it."""

import pytest

from kalm_reranker.client import KaLMClient
from tests.client.scripted_server import ScriptedServer


@pytest.fixture
def server():
    running = ScriptedServer()
    yield running
    running.close()


@pytest.fixture
def client(server):
    with KaLMClient(server.url, timeout_s=10) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_key_of_the_environment(monkeypatch):
    monkeypatch.delenv("KALM_API_KEY", raising=False)
