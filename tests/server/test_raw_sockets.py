"""What no HTTP client sends: slow, broken, endless and lying requests."""

import json
import os
import time

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kalm_reranker.server.http.connections import LimitedH11
from kalm_reranker.server.memory import resident_bytes
from kalm_reranker.server.run import Server
from kalm_reranker.server.settings import Limits
from tests.server.arithmetic import Arithmetic
from tests.server.raw import RawConnection, head
from tests.server.running import RunningServer, add_probe, wait_until

BODY = json.dumps({"query": "red apples", "documents": ["red apples"]})
TYPE = "content-type: application/json"
LENGTH = f"content-length: {len(BODY)}"
CHUNKED = "transfer-encoding: chunked"
WHOLE = head("/probe", TYPE, LENGTH) + BODY


@pytest.fixture(params=["httptools", "h11"])
def start_either(request, start, monkeypatch):
    """Starts servers with either of uvicorn's parsers."""
    if request.param == "h11":
        monkeypatch.setattr("kalm_reranker.server.http.connections._fastest", lambda: LimitedH11)

    def started(*arguments, **options):
        server = start(*arguments, **options)
        used = server.server.config.http_protocol_class
        assert issubclass(used, HttpToolsProtocol) == (request.param == "httptools")
        return server

    return started


@pytest.fixture(scope="module", params=["httptools", "h11"])
def shared(request):
    """A server with either parser that several tests use."""
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "h11":
            patched.setattr("kalm_reranker.server.http.connections._fastest", lambda: LimitedH11)
        server = RunningServer(Arithmetic(), prepare=add_probe, limits=Limits(body_timeout_s=1))
    yield server
    server.stop()


def assert_healthy(server):
    with RawConnection(server) as connection:
        connection.send(WHOLE)
        status, _, body = connection.answer()
        assert (status, body["margins"]) == (200, [2.0])
    wait_until(lambda: (server.admission.requests, server.admission.bytes) == (0, 0))


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_one_connection_serves_many_requests(shared):
    with RawConnection(shared) as connection:
        for _ in range(3):
            connection.send(WHOLE)
            assert connection.answer()[0] == 200


def test_pipelined_requests_are_answered_in_order(shared):
    with RawConnection(shared) as connection:
        ids = [f"x-request-id: r{number}" for number in range(5)]
        connection.send("".join(head("/probe", TYPE, LENGTH, line) + BODY for line in ids))
        got = [connection.answer()[2]["id"] for _ in range(5)]
    assert got == [f"r{number}" for number in range(5)]
    assert_healthy(shared)


def test_slow_heads_are_cut_off(start_either):
    server = start_either(limits=Limits(body_timeout_s=0.3))
    with RawConnection(server) as connection:
        took = connection.send_slowly(
            (f"x-{n}: y\r\n" if n else head()[:-2] for n in range(400)), 0.05
        )
        assert 0.2 < took < 10
        status, _, body = connection.answer()
        assert (status, body["error"]["code"]) == (408, "head_timeout")
        assert connection.is_at_end()
    assert_healthy(server)


def test_slow_heads_of_later_requests_are_cut_off(start_either):
    server = start_either(limits=Limits(body_timeout_s=0.3))
    with RawConnection(server) as connection:
        connection.send(WHOLE)
        assert connection.answer()[0] == 200
        took = connection.send_slowly((byte for byte in head() * 99), 0.02)
        assert 0.2 < took < 10
        assert connection.answer()[0] == 408
        assert connection.is_at_end()


def test_connections_that_say_nothing_are_closed(start_either):
    server = start_either(limits=Limits(body_timeout_s=0.3))
    with RawConnection(server) as connection:
        started = time.monotonic()
        assert connection.is_at_end()
        assert 0.2 < time.monotonic() - started < 10


def test_empty_lines_do_not_keep_a_connection_open(start_either):
    server = start_either(limits=Limits(body_timeout_s=0.3))
    with RawConnection(server) as connection:
        assert connection.send_slowly(["\r\n"] * 999, 0.02) < 10


def test_a_request_that_is_worked_on_is_no_slow_head(start_either):
    server = start_either(Arithmetic(delay_s=0.6), limits=Limits(body_timeout_s=0.2))
    with RawConnection(server) as connection:
        connection.send(WHOLE)
        assert connection.answer()[0] == 200
        connection.send(WHOLE)
        assert connection.answer()[0] == 200


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
def test_slow_bodies_are_cut_off(start_either, framing):
    server = start_either(limits=Limits(body_timeout_s=0.3))
    with RawConnection(server) as connection:
        connection.send(head("/probe", TYPE, framing))
        parts = ("1\r\n \r\n" if framing == CHUNKED else " " for _ in range(len(BODY) - 1))
        took = connection.send_slowly(parts, 0.1)
        assert 0.2 < took < 4
        status, headers, body = connection.answer()
        assert (status, body["error"]["code"]) == (408, "body_timeout")
        assert headers["connection"] == "close"
        assert connection.is_at_end()
    assert_healthy(server)


def test_endless_heads_are_cut_off(start_either):
    server = start_either()
    with RawConnection(server) as connection:
        parts = (f"x-{number}: {'y' * 1000}\r\n" for number in range(10_000))
        connection.send(head()[:-2])
        connection.send_slowly(parts, 0.0005)
        assert connection.answer()[0] in (400, 431)
    assert_healthy(server)


def test_endless_addresses_are_cut_off(start_either):
    server = start_either()
    with RawConnection(server) as connection:
        connection.send("POST /")
        connection.send_slowly(("y" * 1000 for _ in range(10_000)), 0.0005)
        assert connection.answer()[0] in (400, 431)
    assert_healthy(server)


def test_endless_chunks_are_413_and_cost_no_memory(start_either):
    server = start_either(limits=Limits(max_body_bytes=100_000, body_timeout_s=0.5))
    before = resident_bytes()
    with RawConnection(server) as connection:
        connection.send(head("/probe", TYPE, CHUNKED))
        piece = chunk(b" " * 50_000)
        for _ in range(3):
            connection.send(piece)
        assert connection.answer()[0] == 413
        sent = 0
        started = time.monotonic()
        while time.monotonic() - started < 20:  # what follows is dropped, for a while
            try:
                connection.send(piece)
            except OSError:
                break
            sent += len(piece)
        assert time.monotonic() - started < 10
        assert sent > 1_000_000
    assert resident_bytes() - before < 20_000_000
    assert_healthy(server)


def test_an_announced_body_that_is_too_large_is_413_before_it_is_sent(shared):
    for length in (str(10**9), "9" * 18):
        with RawConnection(shared) as connection:
            connection.send(head("/probe", TYPE, f"content-length: {length}"))
            assert connection.answer()[0] == 413
    assert_healthy(shared)


def test_asking_before_sending(start_either):
    server = start_either(limits=Limits(max_body_bytes=1000))
    with RawConnection(server) as connection:
        connection.send(head("/probe", TYPE, "content-length: 2000", "expect: 100-continue"))
        status, headers, _ = connection.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert connection.is_at_end()
    with RawConnection(server) as connection:
        connection.send(head("/probe", TYPE, LENGTH, "expect: 100-continue"))
        assert connection.answer()[0] == 100
        connection.send(BODY)
        assert connection.answer()[0] == 200


def test_the_connection_can_be_used_after_a_refused_body(start_either):
    server = start_either(limits=Limits(max_body_bytes=1000))
    with RawConnection(server) as connection:
        connection.send(head("/probe", TYPE, "content-length: 200000"))
        assert connection.answer()[0] == 413
        connection.send(b" " * 200_000 + WHOLE.encode())
        assert connection.answer()[0] == 200


def test_a_length_that_is_too_long_ends_with_the_connection(start_either):
    service = Arithmetic()
    server = start_either(service)
    with RawConnection(server) as connection:
        connection.send(head("/probe", TYPE, f"content-length: {len(BODY) + 10}") + BODY)
        wait_until(lambda: server.admission.requests == 1)
    wait_until(lambda: server.admission.requests == 0)
    assert service.calls == 0
    assert_healthy(server)


def test_a_length_that_is_too_short_is_bad_json_or_bad_http(start_either):
    service = Arithmetic()
    server = start_either(service)
    with RawConnection(server) as connection:
        connection.send(head("/probe", TYPE, f"content-length: {len(BODY) - 10}") + BODY)
        assert connection.answer()[0] == 400
    assert service.calls == 0
    assert_healthy(server)


def test_leaving_in_the_middle_of_work_cancels_it(start_either):
    service = Arithmetic(delay_s=60)
    server = start_either(service)
    with RawConnection(server) as connection:
        connection.send(WHOLE)
        wait_until(lambda: service.calls == 1)
    wait_until(lambda: service.cancelled == 1)
    wait_until(lambda: server.admission.requests == 0)


BROKEN = {
    "no HTTP": "hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "unknown method": head(method="STEAL"),
    "space in the path": head("/a b"),
    "bytes in the path": head().replace("/probe", "/\xff").encode("latin-1"),
    "header without colon": head("/probe", "broken"),
    "header with a line feed": head("/probe", "a: b\n c\x00: d"),
    "negative length": head("/probe", TYPE, "content-length: -1"),
    "length of letters": head("/probe", TYPE, "content-length: ten"),
    "two lengths": head("/probe", TYPE, "content-length: 1", "content-length: 2") + "{}",
    "length with a sign": head("/probe", TYPE, "content-length: +2") + "{}",
    "chunk of no size": head("/probe", TYPE, CHUNKED) + "xyz\r\n\r\n",
    "huge chunk size": head("/probe", TYPE, CHUNKED) + "f" * 40 + "\r\n\r\n",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_requests_are_400(shared, data):
    with RawConnection(shared) as connection:
        connection.send(data)
        status, headers, body = connection.answer()
        assert 400 <= status < 500
        assert headers["content-type"] == "application/json"
        assert body["message"]
    assert_healthy(shared)


def test_length_and_chunks_at_once_are_refused_or_read_as_chunks(shared):
    """Never as two requests, which is how requests are smuggled past proxies."""
    before = shared.lifecycle.service().calls
    with RawConnection(shared) as connection:
        inner = head("/probe", TYPE, LENGTH) + BODY
        connection.send(head("/probe", TYPE, "content-length: 4", CHUNKED) + "0\r\n\r\n" + inner)
        assert connection.answer()[0] == 400
        assert shared.lifecycle.service().calls <= before + 1


@pytest.mark.parametrize("pieces", [1, 7, 1000])
@pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
def test_offers_to_upgrade_are_not_taken(shared, framing, pieces):
    """As Java's HTTP client sends them; the body must not get lost."""
    lines = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABk")
    body = BODY if framing == LENGTH else (chunk(BODY.encode()) + b"0\r\n\r\n").decode()
    data = (head("/probe", TYPE, framing, *lines) + body) * 2
    size = -(-len(data) // pieces)
    with RawConnection(shared) as connection:
        for start in range(0, len(data), size):
            connection.send(data[start : start + size])
        for _ in range(2):
            status, _, answer = connection.answer()
            assert (status, answer["margins"]) == (200, [2.0])


def test_web_sockets_are_refused(shared):
    lines = ("connection: Upgrade", "upgrade: websocket", "sec-websocket-version: 13")
    with RawConnection(shared) as connection:
        connection.send(head("/probe", *lines, method="GET"))
        assert connection.answer()[0] == 405


@pytest.mark.parametrize("target", ["/probe", "example.com:443"])
def test_no_tunnels(shared, target):
    with RawConnection(shared) as connection:
        connection.send(head(target, method="CONNECT") + "anything")
        assert connection.answer()[0] in (400, 404, 405)
    assert_healthy(shared)


def test_random_bytes_do_no_harm(shared):
    for size in (1, 10, 1000, 100_000):
        with RawConnection(shared) as connection:
            connection.send_slowly([os.urandom(size)], 0.01)
    assert_healthy(shared)


def test_more_connections_than_may_be_are_503(start, monkeypatch):
    monkeypatch.setattr("kalm_reranker.server.open_files.IDLE_CONNECTIONS", 3)
    server = start(limits=Limits(max_pending_requests=1))
    assert isinstance(server.server, Server)
    connections = [RawConnection(server) for _ in range(4)]
    wait_until(lambda: len(server.server.server_state.connections) == 4)
    with RawConnection(server) as connection:
        status, _, body = connection.answer()
        assert (status, body["error"]["code"]) == (503, "too_many_connections")
        assert connection.is_at_end()
    for connection in connections:
        connection.socket.close()
    wait_until(lambda: not server.server.server_state.connections)
    assert_healthy(server)
