"""Which Host headers are answered."""

import pytest

from kalm_reranker.server.http.allowed_hosts import hosts_to_answer, is_loopback
from kalm_reranker.server.settings import ServerSettings
from tests.server.arithmetic import Arithmetic
from tests.server.raw import RawConnection
from tests.server.running import shared_client


@pytest.fixture(scope="module")
def client():
    with shared_client(Arithmetic()) as shared:
        yield shared


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("localhost", True),
        ("LOCALHOST:1234", True),
        ("127.0.0.1", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("[::1]", True),
        ("[::1].evil.example", False),
        ("[::1]:evil", False),
        ("evil.example", False),
        ("evil.example:8000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost:evil", False),
        ("localhost@evil.example", False),
        ("", False),
        ("192.168.0.1", False),
    ],
)
def test_a_server_on_loopback_answers_to_its_names_only(client, host, answered):
    answer = client.get("/metrics", headers={"host": host})
    assert answer.status_code == (200 if answered else 403)
    if not answered:
        assert answer.json()["error"]["code"] == "host_not_allowed"
    assert client.get("/health/live", headers={"host": host}).status_code == 200
    assert client.get("/health", headers={"host": host}).status_code == answer.status_code


def test_names_that_are_set(start, connect):
    client = connect(start(allowed_hosts=("Rerank.example", "other.example:81")))
    for host, status in (
        ("rerank.example", 200),
        ("rerank.example:9000", 200),
        ("other.example:81", 200),
        ("other.example:82", 403),
        ("localhost", 403),
    ):
        assert client.get("/metrics", headers={"host": host}).status_code == status, host


def test_any_name(start, connect):
    client = connect(start(allowed_hosts=("*",)))
    assert client.get("/metrics", headers={"host": "evil.example"}).status_code == 200


def test_no_header_at_all_is_no_browser(start):
    with RawConnection(start()) as connection:
        connection.send("GET /health HTTP/1.0\r\n\r\n")
        assert connection.answer()[0] == 200


def test_two_headers_must_both_be_allowed(start):
    with RawConnection(start()) as connection:
        connection.send("GET /metrics HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n")
        assert connection.answer()[0] in (400, 403)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_where_only_this_machine_reaches(host, loopback):
    assert is_loopback(host) == loopback
    names = hosts_to_answer(ServerSettings(host=host))
    assert (names is not None) == loopback
