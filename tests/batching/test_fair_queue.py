"""Fairness without clocks: steps cost what they are expected to cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker.batching import fair_queue
from kalm_reranker.batching.fair_queue import FairQueue
from kalm_reranker.batching.flow import Flow
from kalm_reranker.errors import DeadlineExceededError, RequestCancelledError
from tests.batching.by_hand import UNIT_S, Double, fixed_cost, work_of

STEP = 20  # units of a step
STEP_S = STEP * UNIT_S
KINDS = (Double("encode"), Double("score"))
SMALLEST_SHARE = fair_queue._SMALLEST_SHARE


@pytest.fixture(scope="module", autouse=True)
def small_shares():
    """Numbers that a test can do in its head."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fair_queue, "_SMALLEST_SHARE", 1)
        yield


def queue_of(*, turn_steps=2, **cost):
    return FairQueue(lambda name: fixed_cost(name, **cost), turn_steps * STEP_S)


def steps(queue):
    """All steps, until nothing waits; each one is finished at once."""
    while (step := queue.next_step(STEP_S)) is not None:
        finish(step)
        yield step


def finish(step):
    for work, index in step.members:
        work.finish(index, work.items[index])


def test_a_small_request_overtakes_a_large_one():
    queue = queue_of()
    large, small = work_of([1.0] * 1_000), work_of([1.0] * 5)
    queue.put(large)
    for _ in range(10):
        finish(queue.next_step(STEP_S))
    queue.put(small)
    finish(queue.next_step(STEP_S))
    assert small.future.done()
    assert not large.future.done()


@pytest.mark.parametrize("progress", range(5, 100, 7))
def test_it_does_so_whenever_it_comes(progress):
    """Also when the large one is nearly done."""
    queue = queue_of()
    queue.put(work_of([1.0] * STEP * 100))
    for _ in range(progress):
        finish(queue.next_step(STEP_S))
    small = work_of([1.0] * 5)
    queue.put(small)
    taken = next(number for number, _ in enumerate(steps(queue)) if small.future.done())
    assert taken <= 3


@pytest.mark.parametrize("slowness", [0.1, 10.0])
def test_it_does_so_although_costs_were_misjudged(slowness):
    """What the first requests of a server cost is a guess, which is corrected as they run."""
    cost = fixed_cost()
    queue = FairQueue(lambda name: cost, 2 * STEP_S)
    queue.put(work_of([1.0] * 100_000))
    waits = []
    for number in range(100):
        finish(queue.next_step(STEP_S))
        if number == 3:
            cost.unit_s *= slowness
        if number % 5 == 4:
            small = work_of([1.0] * 2)
            queue.put(small)
            waits.append(0)
            while not small.future.done():
                finish(queue.next_step(STEP_S))
                waits[-1] += 1
    assert max(waits) <= 4


@pytest.mark.parametrize("num_clients", [1, 4, 20])
def test_a_large_one_does_not_starve_under_an_endless_stream_of_small_ones(num_clients):
    queue = queue_of()
    large = work_of([1.0] * STEP * 50)
    queue.put(large)
    small = [work_of([1.0] * 7) for _ in range(num_clients)]
    for one in small:
        queue.put(one)
    units = 0.0
    while not large.future.done():
        step = queue.next_step(STEP_S)
        finish(step)
        units += step.units
        for client, one in enumerate(small):
            if one.future.done():  # and its client sends the next one at once
                small[client] = work_of([1.0] * 7)
                queue.put(small[client])
        # A bit more than what an even share would take.
        assert units <= 50 * STEP * (num_clients + 1) * 1.6


@pytest.mark.parametrize("num_clients", [1, 4, 20])
def test_small_ones_are_done_soon_beside_a_large_one(num_clients):
    """Within three times what they take among themselves, all the time that it runs."""

    def longest_wait(*others):
        queue = queue_of()
        for other in others:
            queue.put(other)
        small = {client: (work_of([1.0] * 30), 0) for client in range(num_clients)}
        for one, _ in small.values():
            queue.put(one)
        waits = []
        for number in range(1, 600):
            finish(queue.next_step(STEP_S))
            for client, (one, since) in small.items():
                if one.future.done():
                    waits.append(number - since)
                    small[client] = (work_of([1.0] * 30), number)
                    queue.put(small[client][0])
        return max(waits)

    assert longest_wait(work_of([1.0] * 20_000)) <= 3 * longest_wait()


def test_among_equals_it_is_first_come_first_served():
    queue = queue_of()
    works = [work_of([float(STEP)] * 2) for _ in range(6)]
    for work in works:
        queue.put(work)
    done = []
    for _ in steps(queue):
        done += [work for work in works if work.future.done() and work not in done]
    assert done == works


def served_until(queue, *flows):
    """Units that each flow was served until one of them has nothing left."""
    units = dict.fromkeys(flows, 0.0)

    def serve(step):
        for work, index in step.members:
            units[work.flow] += work.units[index]
            work.finish(index, None)

    return units, serve


def test_who_asks_piece_by_piece_gets_no_more_than_who_asks_at_once():
    queue = queue_of()
    at_once, pieces = Flow(), Flow()
    units, serve = served_until(queue, at_once, pieces)
    queue.put(work_of([1.0] * 2_000, flow=at_once))
    piece = work_of([1.0] * 5, flow=pieces)
    queue.put(piece)
    for _ in range(80):
        serve(queue.next_step(STEP_S))
        if piece.future.done():
            piece = work_of([1.0] * 5, flow=pieces)
            queue.put(piece)
    # What is small may ride along with the turns of others.
    assert units[pieces] <= 1.5 * units[at_once]


def test_who_asks_for_much_in_several_works_gets_no_more_than_one():
    queue = queue_of()
    one, many = Flow(), Flow()
    units, serve = served_until(queue, one, many)
    queue.put(work_of([1.0] * 2_000, flow=one))
    for _ in range(20):
        queue.put(work_of([1.0] * 100, flow=many))
    for _ in range(80):
        serve(queue.next_step(STEP_S))
    assert units[many] == pytest.approx(units[one], rel=0.15)


def test_items_larger_than_a_turn_are_charged_in_full():
    queue = queue_of()
    heavy, light = Flow(), Flow()
    units, serve = served_until(queue, heavy, light)
    queue.put(work_of([7.0 * STEP] * 100, flow=heavy))
    queue.put(work_of([1.0] * 10_000, flow=light))
    for _ in range(150):
        serve(queue.next_step(STEP_S))
    assert units[heavy] == pytest.approx(units[light], rel=0.2)


def test_a_step_has_one_kind_and_is_filled_from_several_requests():
    queue = queue_of()
    for number in range(12):
        queue.put(work_of([1.0] * 3, kind=KINDS[number % 2]))
    sizes = []
    for step in steps(queue):
        assert {work.kind for work, _ in step.members} == {step.kind}
        assert step.units <= STEP
        sizes.append((step.kind.name, step.units))
    assert sorted(sizes) == [("encode", 18.0), ("score", 18.0)]


def test_a_step_takes_as_much_as_fits_and_at_least_one_item():
    queue = queue_of()
    queue.put(work_of([3.0 * STEP, 8.0, 9.0, 4.0]))
    assert [step.units for step in steps(queue)] == [3.0 * STEP, 17.0, 4.0]


def test_a_large_request_brings_its_share_and_small_ones_come_along():
    queue = queue_of()
    large, other = work_of([1.0] * 100), work_of([1.0] * 100)
    small = [work_of([4.0, 3.0]) for _ in range(3)]
    for work in (large, other, *small):
        queue.put(work)
    brought = [
        {
            id(one): sum(one.units[index] for work, index in step.members if work is one)
            for one, _ in step.members
        }
        for step in steps(queue)
    ]
    assert all(units <= STEP for step in brought for units in step.values())
    assert all(brought[0][id(one)] == 7.0 for one in small)
    assert not any(id(large) in step and id(other) in step for step in brought[:6])


def test_many_small_requests_are_done_together_but_not_without_end():
    queue = queue_of()
    for _ in range(100):
        queue.put(work_of([2.0] * 2))
    sizes = [step.units for step in steps(queue)]
    assert sizes == [8.0 * STEP, 8.0 * STEP, 400.0 - 16.0 * STEP]


def test_a_share_is_never_too_small_to_be_worth_a_step(monkeypatch):
    monkeypatch.setattr(fair_queue, "_SMALLEST_SHARE", SMALLEST_SHARE)
    queue = queue_of(unit_s=1e3)  # a very slow model
    queue.put(work_of([1.0] * 2 * SMALLEST_SHARE))
    assert [step.units for step in steps(queue)] == [SMALLEST_SHARE] * 2


def test_items_of_a_request_are_taken_largest_first():
    queue = queue_of()
    work = work_of([3.0, 9.0, 6.0])
    queue.put(work)
    step = queue.next_step(STEP_S)
    assert [index for _, index in step.members] == [1, 2, 0]


def test_cancelled_and_late_work_is_dropped_and_whoever_waits_is_told():
    queue = queue_of()
    gone, late, wanted = Flow(), Flow(deadline=0.0), Flow()
    works = {flow: work_of([1.0] * 100, flow=flow) for flow in (gone, late, wanted)}
    for work in works.values():
        queue.put(work)
    gone.cancel()
    step = queue.next_step(STEP_S)
    assert {work.flow for work, _ in step.members} == {wanted}
    with pytest.raises(RequestCancelledError):
        works[gone].future.result(0)
    with pytest.raises(DeadlineExceededError):
        works[late].future.result(0)
    assert queue.num_dropped == 2
    assert len(queue) == 1


def test_what_failed_is_dropped_but_not_counted_as_unwanted():
    queue = queue_of()
    work = work_of([1.0] * 100)
    queue.put(work)
    queue.next_step(STEP_S)
    work.fail(ValueError("poison"))
    assert queue.next_step(STEP_S) is None
    assert len(queue) == queue.num_dropped == 0


def test_it_knows_how_long_what_waits_will_take():
    queue = queue_of()
    queue.put(work_of([1.0] * 50))
    assert queue.waiting_s() == pytest.approx(50 * UNIT_S)
    queue.next_step(STEP_S)
    assert queue.waiting_s() == pytest.approx(30 * UNIT_S)
    assert len(queue.drain()) == 1
    assert queue.waiting_s() == 0


ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.integers(0, 5),  # flow
            st.sampled_from(KINDS),
            st.lists(st.floats(1, 3 * STEP), min_size=1, max_size=30),
        ),
        st.just(("step",)),
        st.tuples(st.just("cancel"), st.integers(0, 5)),
        st.tuples(st.just("fail"), st.integers(0, 5)),
    ),
    max_size=40,
)


@given(ACTIONS, st.floats(0, 0.1))
def test_each_item_of_wanted_work_is_run_exactly_once(actions, step_s):
    queue = queue_of(step_s=step_s)
    flows = [Flow() for _ in range(6)]
    works, taken, cancelled, failed = [], [], set(), set()

    def run(step):
        share = max(STEP_S - step_s, step_s) / UNIT_S * (1 + 1e-9)
        for part in step.by_work():
            assert len(part.members) == 1 or part.units <= share
        assert step.units <= 8 * share or step.num_flows() == 1
        assert step.units == pytest.approx(sum(w.units[i] for w, i in step.members))
        for work, index in step.members:
            assert work.kind == step.kind
            assert work.flow not in cancelled
            assert work not in failed
            taken.append((work, index))
            work.finish(index, work.items[index])

    for action in actions:
        match action:
            case ("put", flow, kind, units):
                works.append(work_of(units, flow=flows[flow], kind=kind, name=len(works)))
                queue.put(works[-1])
            case ("step",):
                step = queue.next_step(STEP_S)
                if step is not None:
                    run(step)
            case ("cancel", flow):
                flows[flow].cancel()
                cancelled.add(flows[flow])
            case ("fail", number) if number < len(works):
                if not works[number].future.done():
                    works[number].fail(ValueError("poison"))
                    failed.add(works[number])
    while (step := queue.next_step(STEP_S)) is not None:
        run(step)
    assert len(taken) == len(set(taken))
    assert len(queue) == 0
    for work in works:
        assert work.future.done()
        error = work.future.exception()
        if error is None:
            assert work.future.result() == list(work.items)
            assert {index for one, index in taken if one is work} == set(range(len(work.items)))
        elif work in failed:
            assert isinstance(error, ValueError)
        else:
            assert isinstance(error, RequestCancelledError)
            assert work.flow in cancelled
