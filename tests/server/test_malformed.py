"""A hundred malformed bodies: each is refused, and the server stays as it was."""

import gzip
import json
import zlib

import pytest

from tests.server.running import ServerProcess, client_of
from tests.server.test_json_body import REFUSED

JSON = {"content-type": "application/json"}
BOMB = b"\x00" * 10_000_000
ODD_VALUES = [None, True, 0, -1, 1.5, 10**30, "", "x", [], [[]], {}, {"a": 1}, [None], [1]]
# Fields that need something else than most of these.
FIELDS = {"/rerank": ("query", "documents", "top_n"), "/score": ("queries", "pairs")}


def bodies():
    """Content and headers of what no endpoint takes."""
    for content, _ in REFUSED.values():
        yield content, JSON
    for compress in (gzip.compress, zlib.compress):
        yield compress(BOMB), {**JSON, "content-encoding": "gzip"}
        yield compress(BOMB), {**JSON, "content-encoding": "deflate"}
        yield compress(BOMB), JSON
    yield json.dumps({"query": "a", "documents": ["a"]}).encode(), {"content-type": "text/plain"}
    yield b'{"query": "a", "documents": ' + b"[" * 2_000_000, JSON
    yield b'{"query": "' + b'\\"' * 1_000_000, JSON
    yield b"{" + b'"a":{},' * 300_000, JSON


@pytest.fixture(scope="module")
def client():
    server = ServerProcess("-m", "tests.server.slow_server", "0", "/", "1")
    try:
        server.line_with("ready")
        with client_of(server) as connected:
            yield connected
    finally:
        server.close()


def send_all(client):
    count = 0
    for path in ("/rerank", "/score", "/v1/search"):
        for content, headers in bodies():
            answer = client.post(path, content=content, headers=headers)
            assert 400 <= answer.status_code < 500, (path, content[:80], answer.text)
            assert answer.json()["message"]
            count += 1
    return count


def test_malformed_bodies_are_refused_and_cost_no_memory(client):
    def memory():
        return client.get("/health").json()["memory_bytes"]

    assert send_all(client) > 100
    before = memory()
    send_all(client)
    assert memory() - before < 30_000_000
    assert client.get("/health").json()["pending_requests"] == 0
    question = {"query": "red apples", "documents": ["red apples", "sky"]}
    answer = client.post("/rerank", json=question)
    assert [row["index"] for row in answer.json()["results"]] == [0, 1]


@pytest.mark.parametrize("path", FIELDS)
def test_odd_values_are_never_a_fault_of_the_server(client, path):
    good = {
        "/rerank": {"query": "a", "documents": ["a", "b"]},
        "/score": {"queries": "a", "documents": ["a", "b"]},
    }[path]
    for field in (*FIELDS[path], "documents", "instruction", "compression_ratio", "model"):
        for value in ODD_VALUES:
            answer = client.post(path, json={**good, field: value})
            assert answer.status_code < 500, (field, value, answer.text)
