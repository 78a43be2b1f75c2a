"""The service: who waits for what, what is dropped, and how it ends."""

import asyncio
import threading
import time

import pytest

from kalm_reranker.batching.flow import Flow
from kalm_reranker.errors import (
    DeadlineExceededError,
    NoIndexError,
    NotReadyError,
    StoreBusyError,
    StoreWriteError,
    UnknownPassageError,
)
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.server import service as service_module
from kalm_reranker.server.calls import PassageInput, SearchCall
from kalm_reranker.server.failures import failure_of
from tests.batching.by_hand import Gate, Told
from tests.server.held import PATIENCE_S, call_of, held, margins, score, soon, wait_until
from tests.server.small_service import QUERY, STORED, Small

TEXTS = [f"Passage {number} is about rivers and copper mills." for number in range(200)]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Small(tmp_path_factory.mktemp("small"))


@pytest.fixture
def index(small, tmp_path):
    return small.index(tmp_path / "secret")


@pytest.fixture
def service(small, index):
    with small.service(index) as made:
        yield made
    assert made._scorer._budget._lent == 0
    assert not made._texts._under_way
    assert not made._writing.locked()


@pytest.fixture
def gate(service):
    """Holds the engine: what is asked of it waits."""
    gate = Gate()
    service._engine.submit(Flow(), gate, ["blocker"], [1.0])
    assert gate.entered.wait(PATIENCE_S)
    yield gate
    gate.opened.set()


def waiting(service, count):
    """Lets the event loop run until so much work waits for the engine."""
    return asyncio.to_thread(wait_until, lambda: service._engine.counts().waiting_works == count)


def idle(service):
    """Lets the event loop run until no thread works for a request."""
    threads = service._threads
    return asyncio.to_thread(
        wait_until, lambda: threads._idle_semaphore._value == len(threads._threads)
    )


def add(service, *passages, deadline=None):
    given = [PassageInput(id=name, text=text) for name, text in passages]
    return service.add(given, deadline or soon())


def alone(small, text, query=QUERY):
    return pytest.approx(
        small.alone.predict([(query, text)], return_margin=True)[0].margin, abs=1e-4
    )


# Fairness


def test_a_small_request_is_done_after_a_few_steps_of_a_large_one(small, index):
    """In steps, not in seconds: 200 texts to encode, and 5 stored passages to score."""
    told = Told()
    with small.service(index, listener=told, target_step_s=0.002) as service:
        gate = Gate()

        async def both():
            service._engine.submit(Flow(), gate, ["blocker"], [1.0])
            large = asyncio.create_task(service.score(call_of(QUERY, TEXTS), soon()))
            await waiting(service, 1)
            few = call_of(QUERY, [[name] for name in STORED])
            little = asyncio.create_task(service.score(few, soon()))
            await waiting(service, 2)
            steps_of_small = []
            little.add_done_callback(lambda _: steps_of_small.append(len(told.steps)))
            gate.opened.set()
            done, _ = await asyncio.wait({large, little}, return_when=asyncio.FIRST_COMPLETED)
            assert done == {little}
            await large
            return steps_of_small[0], len(told.steps)

        steps_of_small, steps = asyncio.run(both())
    assert steps > 30
    # Its own, one of the large one, and those that ran until the event loop was told.
    assert steps_of_small <= 15


def test_many_requests_at_once_each_get_their_own_scores(small, service):
    calls = [
        call_of(f"{QUERY} {number}", [TEXTS[number], ["paris"], TEXTS[0]]) for number in range(40)
    ]

    async def all_at_once():
        return await asyncio.gather(*(service.score(call, soon()) for call in calls))

    results = asyncio.run(all_at_once())
    for call, result in zip(calls, results, strict=True):
        expected = [
            alone(small, one.text or STORED["paris"], call.queries[0]) for one in call.documents
        ]
        assert margins(result) == expected
    counts = service.counts()
    assert counts["requests"] == 40
    assert counts["documents"] == 120
    assert counts["text_cache_items"] == 40
    assert counts["passages_reused"] == 39  # TEXTS[0] in all requests but one
    assert counts["queue_seconds"] > 0


# Cancelled and late


def test_a_cancelled_request_is_dropped_and_gives_back_what_it_held(service, gate):
    async def cancel_one_of_two():
        gone = asyncio.create_task(service.score(call_of(QUERY, TEXTS[:50]), soon()))
        await waiting(service, 1)
        wanted = asyncio.create_task(service.score(call_of(QUERY, TEXTS[50:53]), soon()))
        await waiting(service, 2)
        assert service._scorer._budget._lent > 0
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        gate.opened.set()
        result = await wanted
        await idle(service)
        return result

    before = service.counts()
    result = asyncio.run(cancel_one_of_two())
    after = service.counts()
    assert len(result.pairs) == 3
    assert service._scorer._budget._lent == 0
    assert after["passages_encoded"] - before["passages_encoded"] == 3
    assert after["cancelled_flows"] == 1


def test_a_request_that_is_cancelled_before_it_has_a_thread_never_begins(service):
    async def cancel_at_once():
        task = asyncio.create_task(service.score(call_of(QUERY, TEXTS[:5]), soon()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await idle(service)

    asyncio.run(cancel_at_once())
    assert len(score(service, call_of(QUERY, TEXTS[:5])).pairs) == 5


def test_a_request_that_is_late_already_does_nothing(service):
    steps = service.counts()["steps"]
    with pytest.raises(DeadlineExceededError) as caught:
        score(service, call_of(QUERY, TEXTS[:5]), deadline=time.monotonic() - 1)
    assert failure_of(caught.value).status == 504
    counts = service.counts()
    assert counts["steps"] == steps
    assert counts["cancelled_flows"] == 1


def test_a_request_that_becomes_late_while_it_waits_is_dropped(service, gate):
    async def wait_too_long():
        deadline = time.monotonic() + 0.05
        late = asyncio.create_task(service.score(call_of(QUERY, TEXTS[:5]), deadline))
        await waiting(service, 1)
        await asyncio.to_thread(wait_until, lambda: time.monotonic() > deadline)
        gate.opened.set()
        with pytest.raises(DeadlineExceededError):
            await late

    asyncio.run(wait_too_long())
    assert service._engine.counts().dropped == 1


# The end


def test_closing_ends_those_who_wait(small, index):
    with small.service(index) as service:
        gate = Gate()

        async def close_while_they_wait():
            service._engine.submit(Flow(), gate, ["blocker"], [1.0])
            tasks = [
                asyncio.create_task(service.score(call_of(QUERY, TEXTS[:5]), soon())),
                asyncio.create_task(service.score(call_of(QUERY, [["paris"]]), soon())),
                asyncio.create_task(service.search(SearchCall(query="capital"), soon())),
                asyncio.create_task(add(service, ("new", "text"))),
            ]
            await waiting(service, 4)
            closing = asyncio.create_task(asyncio.to_thread(service.close))
            results = await asyncio.gather(*tasks, return_exceptions=True)
            gate.opened.set()
            await closing
            return results

        for error in asyncio.run(close_while_they_wait()):
            assert isinstance(error, NotReadyError)
            assert failure_of(error).status == 503
        with pytest.raises(NotReadyError):
            service.facts()
        with pytest.raises(NotReadyError):
            score(service, call_of(QUERY, TEXTS[:1]))
        assert service.counts()["requests"] == 4
    assert "new" not in index
    index.close()


def test_a_model_can_be_used_again_when_its_service_has_ended(small):
    with small.service():
        pass
    assert small.served.predict([(QUERY, TEXTS[0])], return_margin=True)[0].margin == alone(
        small, TEXTS[0]
    )
    with small.service() as again:
        assert margins(score(again, call_of(QUERY, TEXTS[:1]))) == [alone(small, TEXTS[0])]


# The index


def test_scores_follow_what_is_stored_at_once(small, service):
    """Whatever the hot tier and the prefix cache hold."""

    async def story():
        async def margin(name):
            return margins(await service.score(call_of(QUERY, [[name]]), soon()))[0]

        for _ in range(2):
            assert await margin("paris") == alone(small, STORED["paris"])
        report = await add(service, ("paris", "Something else altogether."), ("new", "Beijing!"))
        assert (report.added, report.replaced) == (1, 1)
        for _ in range(2):
            assert await margin("paris") == alone(small, "Something else altogether.")
            assert await margin("new") == alone(small, "Beijing!")
        assert await service.delete(["new"], missing_ok=False) == 1
        with pytest.raises(UnknownPassageError):
            await margin("new")
        await add(service, ("new", "A third text."))
        assert await margin("new") == alone(small, "A third text.")
        report = await add(service, ("new", "A third text."))
        assert (report.unchanged, report.added) == (1, 0)

    asyncio.run(story())


def test_what_is_deleted_while_it_is_scored_is_scored_all_the_same(small, service, gate):
    async def delete_meanwhile():
        task = asyncio.create_task(service.score(call_of(QUERY, [["paris"]]), soon()))
        await waiting(service, 1)
        assert await service.delete(["paris"], missing_ok=False) == 1
        gate.opened.set()
        return await task

    assert margins(asyncio.run(delete_meanwhile())) == [alone(small, STORED["paris"])]
    assert service.facts().index_passages == len(STORED) - 1


def test_unknown_ids_are_named_without_the_folder(service):
    async def try_all():
        with pytest.raises(UnknownPassageError, match=r"1 of 2 ids .* 'nobody'") as got:
            await service.get(["paris", "nobody"])
        with pytest.raises(UnknownPassageError, match=r"1 of 2 ids .* 'nobody'") as deleted:
            await service.delete(["paris", "nobody"], missing_ok=False)
        for caught in (got, deleted):
            assert "secret" not in str(caught.value)
            assert failure_of(caught.value).status == 404
        assert [passage.text for passage in await service.get(["paris"])] == [STORED["paris"]]
        assert await service.delete(["paris", "nobody"], missing_ok=True) == 1

    asyncio.run(try_all())


def test_without_an_index_there_is_nothing_to_search(small):
    with small.service() as service:

        async def try_all():
            for work in (
                lambda: service.search(SearchCall(query="x"), soon()),
                lambda: add(service, ("a", "b")),
                lambda: service.get(["a"]),
                lambda: service.delete(["a"], missing_ok=True),
            ):
                with pytest.raises(NoIndexError):
                    await work()

        asyncio.run(try_all())
        facts = service.facts()
    assert facts.index_passages is facts.index_ratio is None


def test_a_search_finds_what_the_index_finds(service, index):
    async def search(**options):
        return await service.search(SearchCall(query="the capital of China", **options), soon())

    found = asyncio.run(search(top_k=2))
    expected = index.search("the capital of China", 2)
    assert [(one.id, one.rank) for one in found] == [(one.id, one.rank) for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.margin == pytest.approx(other.margin, abs=1e-4)
    assert {one.compression_ratio for one in asyncio.run(search(compression_ratio=8))} == {8}


def test_notes_do_not_say_where_the_index_is(service, index, monkeypatch):
    """What could not be done is told, without the path that the system's error names."""

    def fails(*args, **options):
        raise StoreWriteError(f"{index.folder.resolve()}/bm25 cannot be written: no space.")

    monkeypatch.setattr(index._first_stage, "sync", fails)
    (note,) = asyncio.run(add(service, ("new", "text"))).notes
    assert "the index/bm25 cannot be written: no space" in note
    assert "secret" not in note


def test_notes_of_a_search_do_not_either(service, index, monkeypatch):
    candidates = index._first_stage.candidates

    def behind(*args):
        found, notes = candidates(*args)
        return found, [*notes, f"BM25 is 3 changes behind: {index.folder}/bm25: no space."]

    monkeypatch.setattr(index._first_stage, "candidates", behind)
    found = asyncio.run(service.search(SearchCall(query="capital"), soon()))
    assert found.notes == ("BM25 is 3 changes behind: the index/bm25: no space.",)


def hold_writer(index):
    """Another thread that writes to the index until it is told to end."""
    has, may_end = threading.Event(), threading.Event()

    def write():
        with index._store.writing():
            has.set()
            assert may_end.wait(PATIENCE_S)

    thread = threading.Thread(target=write)
    thread.start()
    assert has.wait(PATIENCE_S)

    def end():
        may_end.set()
        thread.join(PATIENCE_S)

    return end


def test_an_add_that_waits_for_another_writer_can_be_cancelled(service, index):
    end = hold_writer(index)
    try:

        async def give_up():
            tasks = [asyncio.create_task(add(service, ("a", "b"))) for _ in range(3)]
            tasks.append(asyncio.create_task(service.delete(["paris"], missing_ok=False)))
            await asyncio.to_thread(wait_until, service._writing.locked)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await idle(service)  # no thread waits for the writer any more

        asyncio.run(give_up())
    finally:
        end()
    assert "a" not in index
    assert "paris" in index


def test_a_writer_that_does_not_end_is_told(service, index, monkeypatch):
    monkeypatch.setattr(service_module, "_LONGEST_BUSY_S", 0.0)
    end = hold_writer(index)
    try:
        with pytest.raises(StoreBusyError) as caught:
            asyncio.run(add(service, ("a", "b")))
        assert failure_of(caught.value).status == 503
    finally:
        end()
    assert asyncio.run(add(service, ("a", "b"))).added == 1


def test_requests_that_write_take_turns(service, index):
    async def write_at_once():
        return await asyncio.gather(
            *(add(service, *((f"{n} {i}", TEXTS[i]) for i in range(4))) for n in range(6)),
            service.delete(["paris"], missing_ok=False),
        )

    *reports, deleted = asyncio.run(write_at_once())
    assert [report.added for report in reports] == [4] * 6
    assert deleted == 1
    assert len(index) == len(STORED) - 1 + 24


def test_scoring_goes_on_while_passages_are_added(small, service):
    with held(service._index.encoder.pipeline) as gate:

        async def both():
            adding = asyncio.create_task(add(service, ("new", "Beijing!")))
            await asyncio.to_thread(gate.wait_for_call)
            result = await service.score(call_of(QUERY, [["paris"]]), soon())
            assert not adding.done()
            gate.opened.set()
            await adding
            return result

        assert margins(asyncio.run(both())) == [alone(small, STORED["paris"])]


def test_passages_for_an_index_of_another_dtype_are_encoded_by_the_engine_too(small, tmp_path):
    small.index(tmp_path / "index").close()
    index = PassageIndex.open(tmp_path / "index", str(small.checkpoint), dtype="bfloat16")
    with small.service(index) as service:
        assert index.encoder is not index.reranker
        before = service.counts()["encode_tokens"]
        assert asyncio.run(add(service, ("new", "Beijing!"))).added == 1
        assert service.counts()["encode_tokens"] > before
        assert len(score(service, call_of(QUERY, [["new"], "text"])).pairs) == 2


# Facts and counts


def test_facts_are_those_of_the_model_and_hold_no_path(small, service):
    facts = service.facts()
    assert facts.name == "tiny"
    assert facts.fingerprint == small.alone.provenance.model_fingerprint
    assert facts.max_length == 96
    assert facts.index_passages == len(STORED)
    assert facts.index_ratio == facts.compression_ratio == 4
    assert str(small.checkpoint.parent) not in repr(facts)


def test_counts_say_what_was_done(service):
    before = service.counts()
    score(service, call_of(QUERY, TEXTS[:3]))
    score(service, call_of(QUERY, [*TEXTS[:3], ["paris"], TEXTS[3]]))
    after = service.counts()
    grown = {name: after[name] - before[name] for name in after}
    assert grown["requests"] == 2
    assert grown["documents"] == 8
    assert grown["passages_encoded"] == 4
    assert grown["passages_reused"] == grown["text_cache_hits"] == 3
    assert grown["text_cache_misses"] == grown["text_cache_items"] == 4
    assert grown["pairs_scored"] == 8
    assert grown["queries"] == 2
    assert grown["hot_tier_misses"] == 1
    assert grown["cancelled_flows"] == 0
    prefix = len(service._reranker.pipeline.tokenizer.document_prefix)
    assert grown["encode_tokens"] > 4 * prefix
    assert grown["steps"] >= 4
    assert 0 < grown["step_seconds"] < PATIENCE_S


def test_counts_do_not_wait_for_a_step(service, gate):
    async def read():
        return await asyncio.wait_for(asyncio.to_thread(service.counts), PATIENCE_S)

    assert asyncio.run(read())["requests"] == 0


def test_waiting_times_are_told_once_per_request(small):
    told = Told()
    with small.service(listener=told) as service:
        for _ in range(3):
            score(service, call_of(QUERY, TEXTS[:2]))
    assert len(told.waits) == 3
    assert min(told.waits) > 0
    assert len(told.steps) >= 4
