"""What is asked again, when, and what never is: against a server that misbehaves."""

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from kalm_reranker.client import AsyncKaLMClient, KaLMClient
from kalm_reranker.errors import ClientError, ServerRefusedError, ServerUnreachableError
from kalm_reranker.server.settings import Limits
from tests.client.answers_of_a_server import obliging
from tests.client.scripted_server import (
    answer,
    be_silent,
    break_off,
    busy,
    drip,
    drop,
    garbage,
    refuse,
)
from tests.server.arithmetic import Arithmetic
from tests.server.running import RunningServer

DOCUMENTS = ["about 3", "about 7"]


def call(kind, url, **options):
    """Ranks with either client."""
    if kind == "sync":
        with KaLMClient(url, **options) as client:
            return client.rank("q", DOCUMENTS)

    async def ranked():
        async with AsyncKaLMClient(url, **options) as client:
            return await client.rank("q", DOCUMENTS)

    return asyncio.run(ranked())


both = pytest.mark.parametrize("kind", ["sync", "async"])


@both
@pytest.mark.parametrize("status", [429, 502, 503])
def test_what_passes_is_asked_again_under_the_same_request_id(server, kind, status):
    server.script = [busy(status, retry_after="0"), busy(status, retry_after="0"), obliging()]
    assert [one["corpus_id"] for one in call(kind, server.url)] == [1, 0]
    assert len(server.seen) == 3
    assert len({seen.headers["x-request-id"] for seen in server.seen}) == 1


@both
def test_retry_after_in_seconds_is_kept(server, kind):
    server.script = [busy(retry_after="1"), obliging()]
    call(kind, server.url)
    first, second = (seen.at for seen in server.seen)
    assert 1.0 <= second - first < 1.5


def test_retry_after_as_a_date_counts_from_the_servers_clock(server):
    then = datetime(2019, 5, 6, 7, 8, 9, tzinfo=UTC)  # that clock is years behind
    until = format_datetime(then + timedelta(seconds=1), usegmt=True)
    date = format_datetime(then, usegmt=True)

    def refuse_with_date(handler):
        handler.date_time_string = lambda timestamp=None: date
        busy(503, retry_after=until)(handler)

    server.script = [refuse_with_date, obliging()]
    call("sync", server.url)
    first, second = (seen.at for seen in server.seen)
    assert 1.0 <= second - first < 1.5


@both
@pytest.mark.parametrize("fault", [drop, break_off], ids=lambda act: act.__name__)
def test_a_connection_that_breaks_is_made_again(server, kind, fault):
    server.script = [fault, obliging()]
    assert len(call(kind, server.url)) == 2
    assert len(server.seen) == 2


def test_a_deletion_whose_connection_broke_is_not_sent_again(server, client):
    server.script = [drop, answer({"deleted": 1})]
    with pytest.raises(ServerUnreachableError, match="gave no answer to DELETE /v1/passages"):
        client.delete("a")
    assert len(server.seen) == 1


def test_a_deletion_that_may_find_nothing_is(server, client):
    server.script = [drop, answer({"deleted": 1})]
    assert client.delete(["a", "b/../c?d=é"], missing_ok=True) == 1
    assert server.seen[1].path == ("/v1/passages?id=a&id=b%2F..%2Fc%3Fd%3D%C3%A9&missing_ok=true")


@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 413, 415, 422, 500, 504])
def test_no_other_refusal_is_asked_again(server, kind, status):
    server.script = [refuse(status, "no.", "some_code", retry_after="0")]
    with pytest.raises(ServerRefusedError) as caught:
        call(kind, server.url)
    asked = [seen for seen in server.seen if seen.path != "/info"]
    assert (caught.value.status, caught.value.code, len(asked)) == (status, "some_code", 1)


@both
def test_tries_end(server, kind):
    server.script = [busy(retry_after="0")]
    with pytest.raises(ServerRefusedError, match=r"429 overloaded: .* tried 3 times") as caught:
        call(kind, server.url, max_retries=2)
    assert len(server.seen) == 3
    assert "max_retries" in caught.value.hint


@both
def test_a_wait_beyond_the_time_limit_is_not_begun(server, kind):
    server.script = [busy(retry_after="30")]
    start = time.monotonic()
    with pytest.raises(ServerRefusedError, match="asks to wait 30 s"):
        call(kind, server.url, timeout_s=5)
    assert time.monotonic() - start < 1
    assert len(server.seen) == 1


@both
@pytest.mark.parametrize("fault", [be_silent, drip], ids=lambda act: act.__name__)
def test_the_time_limit_holds(server, kind, fault):
    server.script = [fault]
    start = time.monotonic()
    with pytest.raises(ServerUnreachableError, match=r"did not answer POST .* within 0.4 s"):
        call(kind, server.url, timeout_s=0.4)
    assert time.monotonic() - start < 0.9
    assert len(server.seen) == 1


@both
def test_the_time_limit_holds_over_all_tries(server, kind):
    server.script = [busy()]
    start = time.monotonic()
    with pytest.raises(ServerRefusedError):
        call(kind, server.url, timeout_s=0.5, max_retries=1000)
    assert time.monotonic() - start < 1


@both
def test_nobody_there(server, kind):
    server.close()
    with pytest.raises(
        ServerUnreachableError, match=r"cannot be reached .* tried 2 times"
    ) as caught:
        call(kind, server.url, max_retries=1)
    assert "kalm serve" in caught.value.hint
    assert isinstance(caught.value, ConnectionError)


def test_something_that_is_no_http_server(server):
    server.script = [garbage]
    with KaLMClient(server.url, max_retries=1) as client:
        with pytest.raises(ServerUnreachableError, match="gave no answer"):
            client.info()


@pytest.mark.parametrize(
    "body",
    [b"<html>welcome</html>", b"[1]", b"{}", b'{"results": 3}', b"", b"\xff", b"[" * 100_000],
    ids=["page", "list", "empty object", "wrong type", "nothing", "no text", "deep"],
)
def test_an_answer_of_something_else_is_an_error(server, client, body):
    server.script = [answer(body)]
    with pytest.raises(ClientError, match="The answer to POST /v1/rerank should"):
        client.rank("q", DOCUMENTS)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"error": "Input is too long", "error_type": "validation"}, "validation", "is too long"),
        ({"message": "invalid request"}, None, "400 Bad Request: invalid request"),
        ({"detail": [{"loc": ["query"], "msg": "missing"}]}, None, '"msg": "missing"'),
        (b"<html>proxy</html>", None, "400 Bad Request[.]"),
    ],
    ids=["TEI", "Cohere", "FastAPI", "proxy"],
)
def test_refusals_of_other_servers_are_read(server, client, body, code, words):
    server.script = [answer(body, 400)]
    with pytest.raises(ServerRefusedError, match=words) as caught:
        client.rank("q", DOCUMENTS)
    assert caught.value.code == code
    assert caught.value.request_id in str(caught.value)


def test_an_address_with_v1_is_explained(server):
    server.script = [refuse(404, "there is nothing at this path.", "no_path")]
    with KaLMClient(server.url + "/v1") as client, pytest.raises(ServerRefusedError) as caught:
        client.rank("q", DOCUMENTS)
    assert server.seen[0].path == "/v1/v1/rerank"
    assert "without /v1" in caught.value.hint


def test_a_redirect_is_not_followed_but_named(server, client):
    server.script = [answer({}, 308, {"location": "https://elsewhere.example/"})]
    with pytest.raises(ServerRefusedError) as caught:
        client.rank("q", DOCUMENTS)
    assert "https://elsewhere.example/" in caught.value.hint
    assert len(server.seen) == 1


def test_health_is_asked_once(server, client):
    server.script = [answer({"status": "loading"}, 503, {"retry-after": "2"})]
    found = client.health()
    assert (found.ready, found.details, len(server.seen)) == (False, {"status": "loading"}, 1)
    server.script = [answer(b"<html>no upstream</html>", 503)]
    with pytest.raises(ServerRefusedError, match="503 Service Unavailable"):
        client.health()


def test_a_client_may_come_before_the_model_is_loaded():
    def load(settings, listener):
        time.sleep(0.3)
        return Arithmetic()

    running = RunningServer(load=load)
    try:
        assert len(call("sync", running.url)) == 2
    finally:
        running.stop()


def test_who_finds_a_real_server_full_gets_an_answer_later(caplog):
    caplog.set_level(logging.INFO, "kalm_reranker.client")
    limits = Limits(max_pending_requests=2)
    running = RunningServer(Arithmetic(delay_s=0.2), limits=limits)

    async def ask():
        async with AsyncKaLMClient(running.url) as client:
            return await asyncio.gather(*(client.rank("about", DOCUMENTS) for _ in range(4)))

    try:
        rankings = asyncio.run(ask())
    finally:
        running.stop()
    assert len(rankings) == 4
    assert all(ranking == rankings[0] for ranking in rankings)
    assert sum("status 429; asking again" in one.getMessage() for one in caplog.records) >= 2
