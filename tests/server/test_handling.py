"""What becomes of a request, over real connections."""

import asyncio
import gzip
import json
import logging
import threading

import httpx
import pytest

from kalm_reranker.errors import InvalidRatioError, StoreWriteError
from kalm_reranker.server.handling import handle
from kalm_reranker.server.settings import Limits
from tests.server.arithmetic import Arithmetic
from tests.server.running import client_of, shared_client, wait_until

BODY = {"query": "red apples", "documents": ["red apples", "green apples", "sky"]}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client():
    with shared_client(Arithmetic()) as shared:
        yield shared


def test_an_answer(client):
    answer = client.post("/probe", json=BODY, headers={"x-request-id": "my-id:1"})
    assert answer.status_code == 200
    assert answer.json() == {"margins": [2.0, 0.0, -1.0], "id": "my-id:1"}
    assert answer.headers["x-request-id"] == "my-id:1"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers


@pytest.mark.parametrize("odd", ["a b", "", "x" * 200, "é", 'a"b'])
def test_odd_request_ids_are_replaced(client, odd):
    answer = client.post("/probe", json=BODY, headers={"x-request-id": odd.encode()})
    assert len(answer.headers["x-request-id"]) == 32
    assert answer.headers["x-request-id"] == answer.json()["id"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON;charset="UTF-8"',
        "application/vnd.kalm+json",
    ],
)
def test_types_of_json(client, content_type):
    answer = client.post("/probe", content=json.dumps(BODY), headers={"content-type": content_type})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/jsonp"},
        {"content-type": "text/plain; application/json"},
        {"content-type": "application/json; charset=latin-1"},
        {**JSON, "content-encoding": "gzip"},
        {**JSON, "content-encoding": "br"},
        {**JSON, "content-encoding": "identity, gzip"},
    ],
)
def test_other_types_and_encodings_are_415(client, headers):
    answer = client.post(
        "/probe", content=gzip.compress(json.dumps(BODY).encode()), headers=headers
    )
    assert answer.status_code == 415
    assert answer.json()["error"]["code"].startswith("unsupported")
    assert client.post("/probe", json=BODY).status_code == 200


def test_json_that_is_none_is_400(client):
    answer = client.post("/probe", content=b'{"query": NaN}', headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": "JSON has no NaN; numbers must be finite.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_json",
    }


def test_bodies_that_are_parsed_in_a_thread(client):
    documents = ["word " * 1000 for _ in range(100)]
    answer = client.post("/probe", json={"query": "word", "documents": documents})
    assert answer.json()["margins"] == [1.0] * 100
    answer = client.post("/probe", content=b'{"query": "' + b"x" * 100_000, headers=JSON)
    assert answer.status_code == 400


def test_methods_without_a_body_need_no_type(client):
    assert client.delete("/probe").json()["margins"] == []


def test_a_body_of_the_largest_size_fits_and_one_more_byte_is_413(start, connect):
    client = connect(start(limits=Limits(max_body_bytes=1000)))
    body = json.dumps({"query": "", "documents": []}).encode()
    fits = body[:-1] + b" " * (1000 - len(body)) + b"}"
    assert client.post("/probe", content=fits, headers=JSON).status_code == 200
    assert client.post("/probe", content=iter([fits]), headers=JSON).status_code == 200
    for content in (fits + b" ", iter([fits, b" "])):
        answer = client.post("/probe", content=content, headers=JSON)
        assert answer.status_code == 413
        assert "at most 1,000 bytes" in answer.json()["message"]


def test_a_full_queue_is_429_and_says_when_to_come_again(start, connect):
    answered = threading.Event()
    service = Arithmetic(gate=answered.is_set)
    server = start(service, limits=Limits(max_pending_requests=2))
    statuses = []

    def ask():
        with client_of(server) as client:
            statuses.append(client.post("/probe", json=BODY).status_code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: service.calls == 2)
    refused = connect(server).post("/probe", json=BODY)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "overloaded"
    answered.set()
    for thread in threads:
        thread.join()
    assert statuses == [200, 200]
    assert connect(server).post("/probe", json=BODY).status_code == 200
    assert service.calls == 3
    assert (server.admission.requests, server.admission.bytes) == (0, 0)


def test_bytes_of_waiting_bodies_are_limited(start, connect):
    service = Arithmetic(gate=lambda: False)
    server = start(service, limits=Limits(max_body_bytes=1000, max_pending_bytes=1500))
    large = json.dumps({"query": "x" * 900}).encode()
    done = []

    def ask():
        with client_of(server) as client:
            done.append(client.post("/probe", content=large, headers=JSON).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: service.calls == 1)
    for content in (large, iter([large])):  # announced, or growing
        assert connect(server).post("/probe", content=content, headers=JSON).status_code == 429
    service.gate = lambda: True
    assert connect(server).post("/probe", json={"query": "x"}).status_code == 200
    thread.join()
    assert done == [200]
    assert server.admission.bytes == 0


def test_an_answer_that_takes_too_long_is_504_and_its_work_is_cancelled(start, connect):
    service = Arithmetic(delay_s=60)
    server = start(service, limits=Limits(request_timeout_s=0.1))
    answer = connect(server).post("/probe", json=BODY)
    assert answer.status_code == 504
    assert "within 0.1 seconds" in answer.json()["message"]
    assert (service.cancelled, server.admission.requests) == (1, 0)


def test_a_client_that_leaves_cancels_its_work(start, connect, caplog):
    service = Arithmetic(delay_s=60)
    server = start(service)
    with caplog.at_level(logging.INFO, logger="kalm_reranker.server"):
        with client_of(server) as client, pytest.raises(httpx.ReadTimeout):
            client.post("/probe", json=BODY, timeout=0.2)
        wait_until(lambda: service.cancelled == 1)
        wait_until(lambda: "499" in caplog.text)
    assert server.admission.requests == 0
    assert 'kalm_requests_total{endpoint="/probe",status="499"} 1.0' in (
        connect(server).get("/metrics").text
    )


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InvalidRatioError("compression_ratio must be positive; got 0."), 400, "must be positive"),
        (StoreWriteError("/srv/secret/index.sqlite3: disk full"), 500, "internal error"),
        (ZeroDivisionError("/srv/secret"), 500, "internal error"),
    ],
)
def test_errors_of_the_service(start, connect, caplog, error, status, message):
    service = Arithmetic()

    async def score(call, deadline):
        raise error

    service.score = score
    answer = connect(start(service)).post("/probe", json=BODY, headers={"x-request-id": "r-77"})
    assert answer.status_code == status
    assert message in answer.json()["message"]
    assert "secret" not in answer.text
    if status == 500:
        assert "r-77" in answer.json()["message"]
        assert "request r-77 failed" in caplog.text
        assert str(error) in caplog.text


def test_an_engine_that_has_stopped_is_503(start, connect):
    service = Arithmetic()
    client = connect(start(service))
    assert client.get("/health/ready").status_code == 200
    service.alive = False
    answer = client.post("/probe", json=BODY)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health").json()["status"] == "failed"
    assert client.get("/health/live").status_code == 503  # only a restart helps


def test_failures_take_the_shape_of_the_body(start, connect):
    async def fail(exchange):
        raise InvalidRatioError("no.")

    server = start()

    async def endpoint(request):
        return await handle(request, fail, shape=lambda body: body.get("shape", "standard"))

    server.app.add_route("/shaped", endpoint, methods=["POST"])
    client = connect(server)
    assert client.post("/shaped", json={"shape": "tei"}).status_code == 422
    assert client.post("/shaped", json={"shape": "tei"}).json()["error_type"] == "validation"
    assert client.post("/shaped", json={}).status_code == 400
    assert client.post("/shaped", content=b"{", headers=JSON).json()["error"]["type"]


def test_answers_are_json_or_an_internal_error(start, connect):
    server = start()

    async def endpoint(request):
        async def answer(exchange):
            return {"score": float("nan")} if exchange.body else {"text": "\U0001f600 é"}

        return await handle(request, answer)

    server.app.add_route("/odd", endpoint, methods=["POST"])
    client = connect(server)
    assert client.post("/odd", json={}).content == '{"text":"\U0001f600 é"}'.encode()
    assert client.post("/odd", json={"a": 1}).status_code == 500


def test_requests_are_logged_without_what_they_say(start, connect, caplog):
    server = start(api_keys=("key-1",))
    client = connect(server, headers={"authorization": "Bearer key-1"})
    with caplog.at_level(logging.INFO, logger="kalm_reranker.server"):
        client.post("/probe?secret=query", json=BODY, headers={"x-request-id": "r1"})
        client.get("/nothing%0Ahere")
        client.post("/probe", content=b"{", headers=JSON)
        wait_until(lambda: caplog.text.count("id=") == 3)
    first, second, third = (r.getMessage() for r in caplog.records if "id=" in r.getMessage())
    assert first.startswith("POST /probe 200 ")
    assert first.endswith(" ms id=r1 documents=3")
    assert second.startswith("GET /nothing%0Ahere 404 ")
    assert third.endswith("code=invalid_json")
    for secret in ("secret", "apples", "key-1"):
        assert secret not in caplog.text


def test_no_log_of_requests(start, connect, caplog):
    client = connect(start(log_requests=False))
    with caplog.at_level(logging.INFO, logger="kalm_reranker.server"):
        assert client.post("/probe", json=BODY).status_code == 200
    assert "probe" not in caplog.text


def test_the_loop_stays_free_while_requests_wait(start):
    answered = threading.Event()
    service = Arithmetic(gate=answered.is_set)
    server = start(service)

    async def ask_many():
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            many = [asyncio.ensure_future(client.post("/probe", json=BODY)) for _ in range(30)]
            while service.calls < 30:
                await asyncio.sleep(0.01)
            assert (await client.get("/health/live")).status_code == 200
            answered.set()
            return [answer.status_code for answer in await asyncio.gather(*many)]

    assert asyncio.run(ask_many()) == [200] * 30
