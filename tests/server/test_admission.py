"""How many requests are accepted."""

import asyncio

import pytest

from kalm_reranker.errors import NotReadyError, OverloadedError
from kalm_reranker.server.admission import Admission
from kalm_reranker.server.settings import Limits

LIMITS = Limits(max_pending_requests=2, max_pending_bytes=100, max_body_bytes=80)


def run(work):
    async def in_loop():
        return work(Admission(LIMITS))

    return asyncio.run(in_loop())


def test_requests_and_bytes_are_given_back():
    def work(admission):
        with admission.enter(60) as first:
            first.grow(50)  # less than what was reserved: nothing more
            with admission.enter(0) as second:
                second.grow(30)
                second.grow(40)
                assert (admission.requests, admission.bytes) == (2, 100)
            assert (admission.requests, admission.bytes) == (1, 60)
        assert (admission.requests, admission.bytes) == (0, 0)

    run(work)


def test_one_request_too_many_is_refused():
    def work(admission):
        with admission.enter(0), admission.enter(0):
            with pytest.raises(OverloadedError, match="as many requests"), admission.enter(0):
                pass
            assert admission.requests == 2
        with admission.enter(0):
            assert admission.requests == 1

    run(work)


def test_bytes_that_do_not_fit_are_refused_and_not_counted():
    def work(admission):
        with admission.enter(80):
            with pytest.raises(OverloadedError, match="bytes"), admission.enter(21):
                pass
            with admission.enter(0) as ticket:
                ticket.grow(20)
                with pytest.raises(OverloadedError, match="bytes"):
                    ticket.grow(21)
                assert admission.bytes == 100
        assert (admission.requests, admission.bytes) == (0, 0)

    run(work)


def test_failed_requests_are_given_back():
    def work(admission):
        with pytest.raises(ZeroDivisionError), admission.enter(10):
            raise ZeroDivisionError
        assert (admission.requests, admission.bytes) == (0, 0)

    run(work)


def test_retry_after_follows_service_times(monkeypatch):
    now = 1000.0
    monkeypatch.setattr("kalm_reranker.server.admission.time.monotonic", lambda: now)

    def work(admission):
        nonlocal now
        assert admission.retry_after_s == 1
        with admission.enter(0):
            now += 8
        assert admission.retry_after_s == 8
        with admission.enter(0):
            now += 28
        assert admission.retry_after_s == pytest.approx(10)
        for _ in range(50):
            with admission.enter(0):
                now += 1000
        assert admission.retry_after_s == 60
        for _ in range(100):
            with admission.enter(0):
                now += 0.001
        assert admission.retry_after_s == 1

    run(work)


def test_interrupting_all_reaches_each_once():
    def work(admission):
        with admission.enter(0) as first, admission.enter(0) as second:
            first.interrupt(OverloadedError("first", retry_after_s=1))
            admission.interrupt_all(NotReadyError("all"))
            assert str(first.interrupted.exception()) == "first"
            assert str(second.interrupted.exception()) == "all"

    run(work)
