"""When to ask again, as pure functions, and the steps of a request without a socket."""

import time
from email.utils import formatdate

import pytest

from kalm_reranker.client.attempts import Chance, answered
from kalm_reranker.client.connection import checked_connection
from kalm_reranker.client.retrying import pause_s, read_retry_after
from kalm_reranker.client.steps import Call, NoReply, Pause, Reply, Send
from kalm_reranker.errors import ServerUnreachableError


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("9" * 5000, float("inf")),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("1e3", None),
        ("٣", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after(value, seconds):
    assert read_retry_after({"retry-after": value}) == seconds


def test_a_date_without_the_servers_clock_counts_from_ours():
    wait = read_retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)})
    assert 58 < wait <= 60


def test_pauses_have_a_random_length_below_a_limit_that_doubles():
    assert [pause_s(tries, None, 1.0) for tries in range(1, 7)] == [0.5, 1, 2, 4, 8, 8]
    assert pause_s(3, None, 0.0) == 0
    assert pause_s(2000, None, 1.0) == 8


def test_a_wish_is_a_lower_bound():
    assert pause_s(1, 3.0, 0.0) == 3.0
    assert pause_s(9, 3.0, 1.0) == pytest.approx(3.3)


def test_the_steps_of_a_request():
    clock = [100.0]
    chance = Chance(now=lambda: clock[0], jitter=lambda: 0.5, new_id=lambda: "id")
    connection = checked_connection("http://h:1", "key", 10, 3)
    call = Call(method="POST", path="/p", body=b"{}")
    steps = answered(call, connection, chance)
    assert next(steps) == Send(call, "id", 10.0)
    assert steps.send(NoReply("not connected", "refused")) == Pause(0.25)
    clock[0] = 103.0
    assert steps.send(None) == Send(call, "id", 7.0)
    assert steps.send(NoReply("broken", "reset")) == Pause(0.5)
    assert steps.send(None) == Send(call, "id", 7.0)
    assert steps.send(Reply(503, {"retry-after": "2"}, b"")) == Pause(2.1)
    steps.send(None)
    with pytest.raises(StopIteration) as end:
        steps.send(Reply(200, {}, b"done"))
    assert end.value.value.body == b"done"


def test_what_took_all_of_the_time_is_not_asked_again():
    chance = Chance(now=lambda: 0.0)
    steps = answered(
        Call(method="GET", path="/p"), checked_connection("http://h", None, 1, 9), chance
    )
    next(steps)
    with pytest.raises(ServerUnreachableError, match=r"http://h did not answer GET /p within 1 s"):
        steps.send(NoReply("late", ""))
