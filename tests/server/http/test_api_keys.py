"""Who gets in."""

import json

import pytest
from starlette.datastructures import Headers

from kalm_reranker.server.http.api_keys import KnownKeys
from tests.server.arithmetic import Arithmetic
from tests.server.raw import RawConnection, head
from tests.server.running import shared_client

KEYS = ("first-key", "second-key")
BODY = {"query": "a", "documents": ["a"]}
OPEN = ["/health", "/health/live", "/health/ready", "/ping"]
GUARDED = [
    *("/probe", "/docs", "/openapi.json", "/metrics", "/v1/models", "/rerank"),
    *("/nothing", "/", "/health/", "/health/live/more"),
]


@pytest.fixture(scope="module")
def client():
    with shared_client(Arithmetic(), api_keys=KEYS) as shared:
        yield shared


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "header",
    [
        ("authorization", "Bearer {}"),
        ("authorization", "bearer {}"),
        ("authorization", "BEARER   {}"),
        ("x-api-key", "{}"),
        ("X-API-Key", "{}"),
    ],
)
def test_any_key_opens_in_any_form(client, key, header):
    name, form = header
    answer = client.post("/probe", json=BODY, headers={name: form.format(key)})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer first-key second-key"},
        {"authorization": "Bearer first-ke"},
        {"authorization": "Bearer first-key1"},
        {"authorization": "Bearer FIRST-KEY"},
        {"authorization": "first-key"},
        {"authorization": "Basic first-key"},
        {"authorization": "Token first-key"},
        {"x-api-key": "wrong"},
        {"x-api-key": ""},
        {"api-key": "first-key"},
        {"cookie": "authorization=first-key"},
        {"authorization": "Bearer wrong", "x-api-key": "first-key"},
    ],
)
def test_nothing_else_does(client, headers):
    answer = client.post("/probe?api_key=first-key", json=BODY, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["type"] == "authentication_error"
    assert "first-key" not in answer.text


@pytest.mark.parametrize("path", OPEN)
def test_health_is_open(client, path):
    assert client.get(path).status_code == 200
    assert client.head(path).status_code == 200


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "PUT"])
def test_all_else_is_guarded(client, path, method):
    assert client.request(method, path).status_code == 401


def test_no_way_around(start):
    server = start(api_keys=KEYS)
    for path in (
        *("/health/../probe", "/health/live/../../probe", "//health", "/health//"),
        *("/health%2f..%2fprobe", "/probe?/health", "/probe#/health", "/probe;/health"),
        "http://127.0.0.1/probe",
    ):
        with RawConnection(server) as connection:
            lines = ("content-length: 2", "content-type: application/json")
            connection.send(head(path, *lines) + "{}")
            assert connection.answer()[0] == 401, path


def test_a_prefix_opens_nothing(start, connect):
    client = connect(start(api_keys=KEYS, root_path="/health"))
    assert client.get("/health/health/live").status_code == 200
    assert client.get("/health/live").status_code == 200
    assert client.post("/health/probe", json=BODY).status_code == 401
    assert client.get("/health/metrics").status_code == 401
    assert client.get("/metrics").status_code == 401


def test_refused_before_the_body_comes(start):
    server = start(api_keys=KEYS)
    with RawConnection(server) as connection:
        connection.send(head("/probe", "content-type: application/json", "content-length: 1000"))
        assert connection.answer()[0] == 401
        assert server.admission.requests == 0


def test_health_says_more_to_who_has_a_key(client):
    assert client.get("/health").json() == {"status": "ok"}
    known = client.get("/health", headers={"x-api-key": KEYS[1]}).json()
    assert known["model"] == "arithmetic"
    assert known["memory_bytes"] > 10**6


def test_keys_of_other_alphabets_are_compared_as_bytes():
    keys = KnownKeys(["schlüssel"])
    sent = Headers(raw=[(b"x-api-key", "schlüssel".encode())])
    assert keys.open_for(sent)
    assert not keys.open_for(Headers(raw=[(b"x-api-key", b"schlssel")]))


def test_without_keys_all_is_open(start, connect):
    server = start()
    assert connect(server).post("/probe", json=BODY).status_code == 200
    assert not KnownKeys(())


def test_the_document_names_the_scheme_only_where_there_are_keys(start, connect, client):
    document = client.get("/openapi.json", headers={"x-api-key": KEYS[0]}).json()
    assert document["paths"]["/metrics"]["get"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in document["paths"]["/health"]["get"]
    assert "HTTPBearer" not in json.dumps(connect(start()).get("/openapi.json").json())
