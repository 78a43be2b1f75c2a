"""How servers end, as processes that get signals."""

import signal
import threading
import time

import httpx
import pytest

from kalm_reranker.server.settings import Limits
from tests.server.arithmetic import Arithmetic
from tests.server.raw import RawConnection
from tests.server.running import PATIENCE_S, client_of, wait_until
from tests.server.test_raw_sockets import WHOLE

MODULE = ("-m", "tests.server.slow_server")
QUESTION = {"query": "red apples", "documents": ["red apples", "sky"]}


class Askers:
    """Threads that ask one question each."""

    def __init__(self, server, count, path="/rerank"):
        self.answers = []
        self.errors = []
        self._threads = [
            threading.Thread(target=self._ask, args=(server, path)) for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, server, path):
        try:
            with client_of(server) as client:
                self.answers.append(client.post(path, json=QUESTION))
        except httpx.HTTPError as error:
            self.errors.append(error)

    def wait(self):
        for thread in self._threads:
            thread.join(PATIENCE_S)

    @property
    def statuses(self):
        return sorted(answer.status_code for answer in self.answers)


def pending(client):
    return client.get("/health").json()["pending_requests"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_accepted_requests_are_finished(start_process, tmp_path, number):
    server = start_process(*MODULE, "0", str(tmp_path / "go"), "60")
    server.line_with("ready")
    with client_of(server) as client:
        askers = Askers(server, 20)
        wait_until(lambda: pending(client) == 20)
        server.signal(number)
        server.line_with("finishing 20 requests")
        refused = httpx.post(f"{server.url}/rerank", json=QUESTION, trust_env=False)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "2"
        assert refused.headers["connection"] == "close"
        ready = httpx.get(f"{server.url}/health/ready", trust_env=False)
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert httpx.get(f"{server.url}/health/live", trust_env=False).status_code == 200
    (tmp_path / "go").touch()
    askers.wait()
    assert (askers.statuses, askers.errors) == ([200] * 20, [])
    assert server.ended() == 0
    assert not any("ending" in line or "Traceback" in line for line in server.lines)


def test_what_is_not_finished_in_time_is_503(start_process):
    server = start_process(*MODULE, "0", "/never", "0.3")
    server.line_with("ready")
    with client_of(server) as client:
        askers = Askers(server, 3)
        wait_until(lambda: pending(client) == 3)
    server.signal()
    askers.wait()
    assert (askers.statuses, askers.errors) == ([503] * 3, [])
    assert server.ended() == 0
    server.line_with("ending 3 requests")


def test_a_second_signal_ends_it_at_once(start_process):
    server = start_process(*MODULE, "0", "/never", "60")
    server.line_with("ready")
    with client_of(server) as client:
        askers = Askers(server, 3)
        wait_until(lambda: pending(client) == 3)
    server.signal()
    server.line_with("finishing 3 requests")
    started = time.monotonic()
    server.signal(signal.SIGINT)
    assert server.ended() == 0
    assert time.monotonic() - started < 20
    askers.wait()
    assert (askers.statuses, askers.errors) == ([503] * 3, [])


def test_a_third_signal_ends_it_whatever_hangs(start_process):
    server = start_process(*MODULE, "0", "/", "60", "close")
    server.line_with("ready")
    server.signal()
    server.line_with("closing")
    server.signal()
    time.sleep(0.5)
    assert server.process.poll() is None
    server.signal()
    assert server.ended() == 1


@pytest.mark.parametrize(
    ("odd", "warns"), [(["public"], True), (["public", "keys"], False), ([], False)]
)
def test_who_opens_a_server_to_all_is_warned(start_process, odd, warns):
    server = start_process(*MODULE, "0", "/", "1", *odd)
    server.line_with("ready")
    assert any(line.startswith("warning: 0.0.0.0 can be") for line in server.lines) == warns
    assert not any("secret" in line for line in server.lines)


def test_a_signal_while_loading_ends_it_at_once(start_process):
    server = start_process(*MODULE, "60", "/", "60")
    assert httpx.get(f"{server.url}/health/ready", trust_env=False).status_code == 503
    started = time.monotonic()
    server.signal()
    assert server.ended() == 0
    assert time.monotonic() - started < 20


def test_nothing_to_finish(start_process):
    server = start_process(*MODULE, "0", "/", "60")
    server.line_with("ready")
    with client_of(server) as client:  # with a connection that is kept open
        assert client.post("/rerank", json=QUESTION).status_code == 200
        server.signal()
        assert server.ended() == 0
    assert not any("finishing" in line for line in server.lines)


@pytest.mark.parametrize(
    ("fails", "words"),
    [("checkpoint", "model.safetensors is cut off."), ("torch", "RuntimeError: CUDA driver")],
)
def test_a_model_that_cannot_be_loaded_ends_it(start_process, fails, words):
    server = start_process(*MODULE, "0.3", "/", "1", fails)
    assert server.ended() == 1
    server.line_with("listening on")
    server.line_with(words)


def test_no_request_is_lost_while_clients_keep_asking(start):
    """Each request gets an answer of 200 or 503, or never was accepted."""
    service = Arithmetic(delay_s=0.02)
    server = start(service, limits=Limits(drain_timeout_s=10))
    outcomes = []
    stop = threading.Event()

    def keep_asking():
        with client_of(server) as client:
            while not stop.is_set():
                try:
                    outcomes.append(client.post("/probe", json=QUESTION).status_code)
                except httpx.TransportError as error:
                    outcomes.append(type(error).__name__)
                    return

    threads = [threading.Thread(target=keep_asking) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(outcomes) > 50)
    finished_before = service.finished
    assert finished_before > 0
    server.signal()
    server.thread.join(PATIENCE_S)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not server.thread.is_alive()
    assert service.closed.is_set()
    assert service.cancelled == 0
    assert service.calls == service.finished == outcomes.count(200)
    assert set(outcomes) <= {200, 503, "ConnectError", "ReadError", "RemoteProtocolError"}


def test_a_body_that_is_still_coming_is_waited_for(start):
    server = start(limits=Limits(drain_timeout_s=10))
    with RawConnection(server) as connection:
        connection.send(WHOLE[:-5])
        wait_until(lambda: server.admission.requests == 1)
        server.signal()
        wait_until(lambda: server.lifecycle.state == "draining")
        connection.send(WHOLE[-5:])
        status, headers, _ = connection.answer()
        assert (status, headers["connection"]) == (200, "close")
    server.thread.join(PATIENCE_S)
    assert server.lifecycle.state == "stopped"


def test_a_body_that_never_comes_is_not_waited_for(start):
    server = start(limits=Limits(drain_timeout_s=0.2))
    with RawConnection(server) as connection:
        connection.send(WHOLE[:-5])
        wait_until(lambda: server.admission.requests == 1)
        server.signal()
        assert connection.answer()[0] == 503
    server.thread.join(PATIENCE_S)
    assert server.lifecycle.state == "stopped"
