"""The engine's thread: in order, fair, and alive whatever a step does."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from kalm_reranker.batching.engine_thread import EngineThread
from kalm_reranker.batching.flow import Flow, current_flow, working_for
from kalm_reranker.errors import (
    DeadlineExceededError,
    EngineError,
    NotReadyError,
    OutOfMemoryError,
    RequestCancelledError,
)
from tests.batching.by_hand import PATIENCE_S, Double, Gate, Told

TARGET_S = 0.02


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def engine(told):
    thread = EngineThread(TARGET_S, told)
    yield thread
    thread.close()


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.opened.set()


def ask(engine, items, *, flow=None, kind=None, unit=1.0):
    return engine.submit(flow or Flow(), kind or Double(), items, [unit] * len(items))


def test_results_are_in_the_order_of_the_items_under_many_threads(engine):
    def client(number):
        flow = Flow()
        for size in (1, 40, 7, 0, 300):
            items = [1_000 * number + place for place in range(size)]
            units = [1.0 + (place * 7919) % 50 for place in range(size)]
            results = engine.submit(flow, Double(), items, units).result(PATIENCE_S)
            assert results == [2 * item for item in items]
        return True

    with ThreadPoolExecutor(24) as threads:
        assert all(threads.map(client, range(24)))
    counts = engine.counts()
    assert counts.items == {"double": 24 * 348}
    assert counts.units["double"] == sum(
        24 * (1.0 + (place * 7919) % 50) for size in (1, 40, 7, 300) for place in range(size)
    )
    assert counts.waiting_works == counts.waiting_s == counts.dropped == 0


def test_nothing_to_do_is_done_at_once(engine):
    assert ask(engine, []).result(0) == []
    assert engine.counts().steps == {}


def in_one_step(engine, gate, *works):
    """Futures of works that run together: (flow, items), while a step before them is held."""
    blocker = ask(engine, ["blocker"], kind=gate)
    assert gate.entered.wait(PATIENCE_S)
    futures = [ask(engine, items, flow=flow) for flow, items in works]
    gate.opened.set()
    wait([blocker, *futures], PATIENCE_S)
    return futures


@pytest.mark.parametrize(
    "poison",
    [
        ValueError("poison"),
        OutOfMemoryError("no room"),
        SystemExit(3),
        KeyboardInterrupt(),
        StopIteration(),
        MemoryError(),
    ],
)
def test_a_poisoned_item_fails_its_own_request_alone(engine, gate, poison):
    good, bad, other = in_one_step(
        engine, gate, (Flow(), [1, 2]), (Flow(), [3, poison]), (Flow(), [4])
    )
    assert good.result(0) == [2, 4]
    assert other.result(0) == [8]
    assert bad.exception(0) is poison
    counts = engine.counts()
    assert counts.steps == {"double": 2}
    assert counts.failed_steps["double"] == 1
    assert counts.shared_steps["double"] == 1
    assert ask(engine, [5]).result(PATIENCE_S) == [10]
    assert engine.is_alive


def test_a_kind_that_loses_results_fails_its_request(engine):
    class Loses(Double):
        def run(self, items):
            return items[1:]

    with pytest.raises(EngineError, match="1 results for 2 items"):
        ask(engine, [1, 2], kind=Loses()).result(PATIENCE_S)
    assert ask(engine, [5]).result(PATIENCE_S) == [10]


def test_failed_steps_do_not_teach_what_steps_cost(engine):
    """Else what fails at once would make the next steps huge."""
    ask(engine, [1] * 50).result(PATIENCE_S)
    before = engine._cost_of("double").unit_s
    for _ in range(20):
        assert ask(engine, [ValueError()], unit=1e6).exception(PATIENCE_S) is not None
    assert engine._cost_of("double").unit_s == before


def test_a_listener_that_fails_harms_nobody():
    class Broken:
        def step_took(self, seconds):
            raise ValueError("no")

        def queue_waited(self, seconds):
            raise ValueError("no")

    engine = EngineThread(TARGET_S, Broken())
    try:
        for number in range(3):
            assert ask(engine, [number]).result(PATIENCE_S) == [2 * number]
    finally:
        engine.close()


def test_it_tells_how_long_steps_took(engine, told):
    for _ in range(3):
        ask(engine, [1]).result(PATIENCE_S)
    engine.close()
    assert len(told.steps) == 3
    assert sum(told.steps) == pytest.approx(sum(engine.counts().seconds.values()))


def test_closing_ends_what_waits_and_finishes_what_runs(engine, gate):
    running = ask(engine, [1], kind=gate)
    assert gate.entered.wait(PATIENCE_S)
    waiting = [ask(engine, [number]) for number in range(5)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    for future in waiting:
        with pytest.raises(NotReadyError, match="engine has stopped"):
            future.result(PATIENCE_S)
    assert not running.done()
    gate.opened.set()
    closing.join(PATIENCE_S)
    assert running.result(0) == [2]
    assert not engine.is_alive
    with pytest.raises(NotReadyError):
        ask(engine, [1]).result(0)
    engine.close()  # again is harmless


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_whatever_ends_the_thread_nobody_waits_for_ever(engine, gate, monkeypatch):
    running = ask(engine, [1], kind=gate)
    assert gate.entered.wait(PATIENCE_S)
    waiting = ask(engine, [1] * 10)

    def broken(seconds):
        raise ValueError("a bug")

    monkeypatch.setattr(engine._queue, "next_step", broken)
    gate.opened.set()
    assert running.result(PATIENCE_S) == [2]
    with pytest.raises(NotReadyError):
        waiting.result(PATIENCE_S)
    with pytest.raises(NotReadyError):
        ask(engine, [1]).result(PATIENCE_S)


def test_a_deadline_or_a_cancellation_before_it_begins_drops_work(engine, gate):
    gone, late = Flow(), Flow(deadline=0.0)
    ask(engine, ["blocker"], kind=gate)
    assert gate.entered.wait(PATIENCE_S)
    futures = [ask(engine, [1] * 100, flow=flow) for flow in (gone, late)]
    gone.cancel()
    gate.opened.set()
    with pytest.raises(RequestCancelledError):
        futures[0].result(PATIENCE_S)
    with pytest.raises(DeadlineExceededError):
        futures[1].result(PATIENCE_S)
    counts = engine.counts()
    assert counts.dropped == 2
    assert counts.items == {"double": 1}


def test_work_that_is_cancelled_halfway_is_not_finished(engine, gate):
    flow = Flow()
    future = ask(engine, list(range(100)), flow=flow, kind=gate, unit=1_000.0)
    assert gate.entered.wait(PATIENCE_S)
    flow.cancel()
    gate.opened.set()
    with pytest.raises(RequestCancelledError):
        future.result(PATIENCE_S)
    assert len(gate.steps) == 1
    assert engine.counts().dropped == 1


def test_counts_can_be_read_while_a_step_runs(engine, gate):
    ask(engine, ["blocker"], kind=gate)
    assert gate.entered.wait(PATIENCE_S)
    ask(engine, [1] * 10)
    with ThreadPoolExecutor(1) as other:
        counts = other.submit(engine.counts).result(PATIENCE_S)
    assert counts.waiting_works == 1
    assert counts.waiting_s > 0
    assert counts.steps == {}


def test_an_idle_engine_keeps_nothing_of_what_it_did(engine):
    class Item:
        def __rmul__(self, number):
            return self

    item = Item()
    kept = weakref.ref(item)
    assert ask(engine, [item]).result(PATIENCE_S) == [item]
    ask(engine, []).result(PATIENCE_S)
    engine.counts()  # its lock is free: the step is over
    del item
    wait_for(lambda: kept() is None)


def test_errors_keep_nothing_alive_once_they_are_handled(engine):
    class Item:
        def __rmul__(self, number):
            raise ValueError("poison")

    def fails(item):
        try:
            ask(engine, [item]).result(PATIENCE_S)
        except ValueError:
            return True

    item = Item()
    kept = weakref.ref(item)
    gc.disable()  # what is kept by cycles alone would go with the next collection
    try:
        assert fails(item)
        del item
        wait_for(lambda: kept() is None)
    finally:
        gc.enable()


def wait_for(condition):
    """Lets other threads run until something is so, which is at once or never."""
    pause = threading.Event()
    for _ in range(1_000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it is not so")


def test_small_requests_are_done_after_a_few_steps_of_a_large_one(engine, gate):
    large = ask(engine, list(range(200)), kind=gate, unit=1_000.0)
    assert gate.entered.wait(PATIENCE_S)
    small = ask(engine, ["small"] * 5, kind=gate)
    gate.opened.set()
    small.result(PATIENCE_S)
    large.result(PATIENCE_S)
    ends = max(number for number, step in enumerate(gate.steps) if "small" in step)
    assert ends <= 2
    assert len(gate.steps) >= 10


def test_flows_count_how_long_their_work_waited(engine, gate):
    ask(engine, ["blocker"], kind=gate)
    assert gate.entered.wait(PATIENCE_S)
    flow = Flow()
    future = ask(engine, [1], flow=flow)
    assert flow.queued_s == 0
    gate.opened.set()
    future.result(PATIENCE_S)
    assert flow.queued_s > 0


def test_what_follows_at_once_is_waited_for():
    """Two requests whose first works ran together have their second ones run together, too."""
    engine, gate = EngineThread(TARGET_S), Gate()
    try:
        flows = [Flow(), Flow()]
        for flow in flows:
            flow.continues = True
        blocker = ask(engine, ["blocker"], kind=gate)
        assert gate.entered.wait(PATIENCE_S)
        firsts = [ask(engine, [1], flow=flow, kind=gate) for flow in flows]
        seconds = []

        def follow(flow):
            def submit(_):  # in the engine's own thread, with the result
                flow.continues = False
                seconds.append(ask(engine, [2], flow=flow, kind=gate))

            return submit

        for first, flow in zip(firsts, flows, strict=True):
            first.add_done_callback(follow(flow))
        gate.opened.set()
        wait([blocker, *firsts], PATIENCE_S)
        wait(list(seconds), PATIENCE_S)
        assert gate.steps == [["blocker"], [1, 1], [2, 2]]
    finally:
        engine.close()


def test_a_request_that_was_to_follow_and_does_not_holds_nobody_up_for_long(engine):
    silent = Flow()
    silent.continues = True
    assert ask(engine, [1], flow=silent).result(PATIENCE_S) == [2]
    assert ask(engine, [2]).result(PATIENCE_S) == [4]


def test_code_without_a_request_works_for_a_new_one_each_time():
    flow = Flow()
    assert current_flow() is not current_flow()
    with working_for(flow):
        assert current_flow() is flow
        with ThreadPoolExecutor(1) as other:
            assert other.submit(current_flow).result() is not flow
        with working_for(Flow()) as _:
            assert current_flow() is not flow
        assert current_flow() is flow
    assert current_flow() is not flow
