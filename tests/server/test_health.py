"""What those who watch a server see."""

import threading

import pytest

from kalm_reranker.server.memory import resident_bytes
from tests.server.arithmetic import FACTS, Arithmetic
from tests.server.running import wait_until

PROBES = ["/health", "/health/ready", "/ping"]


@pytest.fixture
def loading(start):
    go = threading.Event()
    service = Arithmetic()

    def load(settings, listener):
        go.wait(30)
        return service

    server = start(load=load)
    yield server, go
    go.set()


def test_while_the_model_is_loaded(loading, connect):
    server, go = loading
    client = connect(server)
    for path in PROBES:
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        assert answer.json()["status"] == "loading"
    assert client.get("/health/live").json() == {"status": "alive"}
    answer = client.post("/probe", json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["message"] == "the model is being loaded."
    assert client.get("/metrics").status_code == 200
    assert client.get("/docs").status_code == 200

    go.set()
    wait_until(lambda: client.get("/health/ready").status_code == 200)
    for path in PROBES:
        assert client.get(path).json()["status"] == "ok"
    assert client.post("/probe", json={}).status_code == 200
    wait_until(lambda: len(server.announced) == 2)
    assert server.announced[0] == f"listening on {server.url}"
    assert server.announced[1].startswith("ready: arithmetic, loaded in ")


def test_what_health_says(start, connect):
    body = connect(start()).get("/health").json()
    assert body.pop("memory_bytes") == pytest.approx(resident_bytes(), rel=0.5)
    assert body.pop("uptime_s") >= 0
    assert body.pop("loading_s") >= 0
    assert body == {
        "status": "ok",
        "model": "arithmetic",
        "fingerprint": FACTS.fingerprint,
        "query_max_length": 512,
        "max_length": 1024,
        "long_documents": "truncate",
        "compression_ratio": 4,
        "dtype": "float32",
        "device": "cpu",
        "engine": "eager",
        "quantization": "none",
        "index_passages": 0,
        "pending_requests": 0,
    }


@pytest.mark.parametrize("path", [*PROBES, "/health/live"])
def test_heads(start, connect, path):
    answer = connect(start()).head(path)
    assert (answer.status_code, answer.content) == (200, b"")
