"""Servers that do as told, a real one, and clients of them."""

import pytest

from kalm_reranker import KaLMReranker, PassageIndex
from kalm_reranker.client import KaLMClient
from tests.client.real_server import KEY, serving
from tests.client.scripted_server import ScriptedServer


@pytest.fixture
def server():
    """A server that does as told."""
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


@pytest.fixture(scope="package")
def reranker():
    """The same model with the server's settings."""
    return KaLMReranker("pico", dtype="float32", special_tokens="text")


@pytest.fixture(scope="package")
def url(tmp_path_factory, reranker):
    """The address of a `kalm serve` with the bundled model and an index."""
    folder = tmp_path_factory.mktemp("served") / "index"
    PassageIndex.create(folder, reranker).close()
    with serving(folder) as address:
        yield address


@pytest.fixture
def real_client(url):
    with KaLMClient(url, api_key=KEY, timeout_s=60) as made:
        yield made
