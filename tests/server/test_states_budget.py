"""Bytes of states that requests hold together."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker.batching.flow import Flow, working_for
from kalm_reranker.errors import DeadlineExceededError, RequestCancelledError
from kalm_reranker.server import states_budget
from kalm_reranker.server.states_budget import StatesBudget
from tests.server.held import PATIENCE_S, wait_until


@pytest.fixture
def threads():
    with ThreadPoolExecutor(8) as pool:
        yield pool


class Borrower:
    """A request that holds bytes until it is told to give them back."""

    def __init__(self, threads, budget, num_bytes, flow=None):
        self.has, self.may_go = threading.Event(), threading.Event()

        def borrow():
            with working_for(flow or Flow()), budget.lend(num_bytes):
                self.has.set()
                assert self.may_go.wait(PATIENCE_S)

        self.future = threads.submit(borrow)

    def holds(self):
        assert self.has.wait(PATIENCE_S)
        return self

    def gives_back(self):
        self.may_go.set()
        self.future.result(PATIENCE_S)


def waiting(budget, count=1):
    wait_until(lambda: len(budget._waiting) == count)


def test_what_fits_is_lent_together_and_what_does_not_waits(threads):
    budget = StatesBudget(100)
    first = Borrower(threads, budget, 60).holds()
    second = Borrower(threads, budget, 40).holds()
    third = Borrower(threads, budget, 1)
    waiting(budget)
    assert not third.has.is_set()
    second.gives_back()
    third.holds().gives_back()
    first.gives_back()
    assert budget._lent == 0


def test_a_small_request_does_not_wait_behind_a_large_one(threads):
    budget = StatesBudget(100)
    first = Borrower(threads, budget, 50).holds()
    large = Borrower(threads, budget, 90)
    waiting(budget)
    Borrower(threads, budget, 10).holds().gives_back()
    assert not large.has.is_set()
    first.gives_back()
    large.holds().gives_back()


def test_unless_that_has_waited_for_long(threads, monkeypatch):
    monkeypatch.setattr(states_budget, "_PATIENCE_S", 0.0)
    budget = StatesBudget(100)
    first = Borrower(threads, budget, 50).holds()
    large = Borrower(threads, budget, 90)
    waiting(budget)
    small = Borrower(threads, budget, 10)
    waiting(budget, 2)
    assert not small.has.is_set()
    first.gives_back()
    large.holds()
    small.holds().gives_back()
    large.gives_back()


def test_what_is_larger_than_everything_goes_alone(threads):
    budget = StatesBudget(100)
    huge = Borrower(threads, budget, 10_000).holds()
    other = Borrower(threads, budget, 1)
    waiting(budget)
    assert not other.has.is_set()
    huge.gives_back()
    other.holds()
    second = Borrower(threads, budget, 10_000)
    waiting(budget)
    other.gives_back()
    second.holds().gives_back()
    assert budget._lent == 0


@pytest.mark.parametrize("error", [RequestCancelledError, DeadlineExceededError])
def test_whoever_is_not_wanted_any_more_stops_waiting(threads, error):
    budget = StatesBudget(100)
    first = Borrower(threads, budget, 100).holds()
    flow = Flow()
    unwanted = Borrower(threads, budget, 50, flow)
    waiting(budget)
    if error is RequestCancelledError:
        flow.cancel()
    else:
        flow.deadline = 0.0
    with pytest.raises(error):
        unwanted.future.result(PATIENCE_S)
    assert budget._waiting == []
    first.gives_back()
    assert budget._lent == 0


def test_an_error_gives_back(threads):
    budget = StatesBudget(100)
    for _ in range(3):
        with pytest.raises(ValueError, match="inside"), budget.lend(80):
            raise ValueError("inside")
    assert budget._lent == 0


@given(st.lists(st.integers(1, 150), min_size=1, max_size=12))
def test_never_more_than_there_is_and_everybody_gets_a_turn(sizes):
    budget, lock = StatesBudget(100), threading.Lock()
    held: list[int] = []

    def borrow(num_bytes):
        with budget.lend(num_bytes):
            with lock:
                held.append(num_bytes)
                assert len(held) == 1 or sum(held) <= 100
            with lock:
                held.remove(num_bytes)
        return num_bytes

    with ThreadPoolExecutor(len(sizes)) as pool:
        assert list(pool.map(borrow, sizes)) == sizes
    assert budget._lent == 0
    assert budget._waiting == []
