"""States of texts: each one is encoded once, whoever wants it, whenever."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from kalm_reranker import KaLMReranker
from kalm_reranker.batching.flow import Flow, working_for
from kalm_reranker.errors import DeadlineExceededError, NonFiniteScoreError, RequestCancelledError
from kalm_reranker.server import text_states
from kalm_reranker.server.text_states import TextStates, TextTooLongError
from tests.parity.random_checkpoints import TINY, build_checkpoint
from tests.server.held import PATIENCE_S, batched, held, wait_until

BUDGET = 2**24
TEXTS = [f"Passage {number} is about rivers and copper mills." for number in range(12)]
LONG = "one word after another " * 40


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    folder = build_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny", **TINY)

    def load(**options):
        return KaLMReranker(folder, dtype="float32", **{"max_length": 64, **options})

    return load


@pytest.fixture(scope="module")
def shared(load):
    reranker = load()
    with batched(reranker):
        yield reranker


@pytest.fixture
def encoded(shared):
    """How many passages were encoded since the test began."""
    before = shared.stats.passages_encoded
    return lambda: shared.stats.passages_encoded - before


@pytest.fixture
def texts(shared):
    made = TextStates(shared, BUDGET)
    yield made
    assert not made._under_way  # nothing is left behind, whatever happened


def assert_same(states, expected):
    for one, other in zip(states, expected, strict=True):
        assert one.token_counts == other.token_counts
        assert one.truncated == other.truncated
        assert one.compression_ratio == other.compression_ratio
        torch.testing.assert_close(one.slots, other.slots, rtol=0, atol=1e-4)


def test_states_are_those_of_the_reranker(shared, texts):
    assert_same(texts.states([*TEXTS, LONG, ""], 4), shared.encode([*TEXTS, LONG, ""]))


def test_a_text_is_encoded_once(texts, encoded):
    first = texts.states(TEXTS[:8], 4)
    second = texts.states(TEXTS[4:], 4)
    assert encoded() == 12
    for one, other in zip(first[4:], second, strict=False):
        assert one.slots is other.slots
    assert texts.num_reused == 4
    stats = texts.stats()
    assert (stats.hits, stats.misses, stats.num_items) == (4, 12, 12)


def test_texts_named_twice_are_one(texts, encoded):
    one, two = texts.states([TEXTS[0], TEXTS[0]], 4)
    assert one.slots is two.slots
    assert encoded() == 1


def test_no_texts_no_states(texts):
    assert texts.states([], 4) == []


def test_many_requests_at_once_encode_nothing_twice(shared, texts, encoded):
    """All of them ask before anything is encoded."""
    orders = [TEXTS[number % 12 :] + TEXTS[: number % 12] for number in range(16)]
    start = threading.Barrier(16)
    with held(shared.pipeline) as gate, ThreadPoolExecutor(16) as threads:

        def client(wanted):
            start.wait(PATIENCE_S)
            return texts.states(wanted, 4)

        futures = [threads.submit(client, wanted) for wanted in orders]
        wait_until(lambda: len(texts._under_way) == 12)
        gate.opened.set()
        results = [future.result(PATIENCE_S) for future in futures]
    assert encoded() == 12
    expected = dict(zip(TEXTS, shared.encode(TEXTS), strict=True))
    for wanted, states in zip(orders, results, strict=True):
        assert_same(states, [expected[text] for text in wanted])
    assert texts.num_reused == 15 * 12


def test_what_another_request_finishes_between_two_looks_is_not_encoded_again(
    shared, texts, encoded
):
    look, looked = texts._kept.get_many, threading.Event()

    def finish_after_looking(kind, keys):
        found = look(kind, keys)
        if threading.current_thread() is late and not looked.is_set():
            looked.set()
            gate.opened.set()
            owner.join(0.2)  # it cannot end while this look is not over
        return found

    texts._kept.get_many = finish_after_looking
    with held(shared.pipeline) as gate:
        owner = threading.Thread(target=texts.states, args=(TEXTS[:1], 4))
        late = threading.Thread(target=texts.states, args=(TEXTS[:1], 4))
        owner.start()
        gate.wait_for_call()
        late.start()
        owner.join(PATIENCE_S)
        late.join(PATIENCE_S)
    assert looked.is_set()
    assert encoded() == 1


def test_what_is_encoded_is_there_before_nobody_encodes_it_any_more(texts):
    """Between the two, another request would encode it again."""
    put, unclaimed = texts._kept.put, []

    def watched(kind, key, *args):
        if (kind, key) not in texts._under_way:
            unclaimed.append(key)
        put(kind, key, *args)

    texts._kept.put = watched
    texts.states(TEXTS, 4)
    assert not unclaimed
    assert texts.stats().num_items == 12


def waits(texts, threads, wanted, flow):
    """A request that asks for what another one is encoding."""
    waiting = threading.Event()
    claim = texts._claim

    def told(*args):
        claimed = claim(*args)
        if claimed[2]:
            waiting.set()
        return claimed

    texts._claim = told

    def ask():
        with working_for(flow):
            return texts.states(wanted, 4)

    future = threads.submit(ask)
    assert waiting.wait(PATIENCE_S)
    return future


def test_a_request_that_is_cancelled_while_it_encodes_harms_nobody_who_waits(
    shared, texts, encoded
):
    gone, wanted = Flow(), Flow()
    with held(shared.pipeline) as gate, ThreadPoolExecutor(2) as threads:

        def give_up():
            with working_for(gone):
                texts.states(TEXTS[:6], 4)

        cancelled = threads.submit(give_up)
        gate.wait_for_call()
        waiting = waits(texts, threads, TEXTS[3:8], wanted)
        gone.cancel()
        gate.opened.set()
        with pytest.raises(RequestCancelledError):
            cancelled.result(PATIENCE_S)
        assert_same(waiting.result(PATIENCE_S), shared.encode(TEXTS[3:8]))


def test_a_failure_is_that_of_the_request_that_had_it(shared, texts):
    class Fails:
        def __init__(self, compute):
            self.compute = compute

        def encode(self, *args, **options):
            pipeline.compute = self.compute  # the next one gets through
            self.compute.encode(*args, **options)
            raise NonFiniteScoreError("overflow")

    pipeline = shared.pipeline
    with ThreadPoolExecutor(2) as threads, held(pipeline) as gate:
        gate.compute = Fails(gate.compute)
        failing = threads.submit(texts.states, TEXTS[:2], 4)
        gate.wait_for_call()
        waiting = waits(texts, threads, TEXTS[:1], Flow())
        gate.opened.set()
        with pytest.raises(NonFiniteScoreError):
            failing.result(PATIENCE_S)
        assert len(waiting.result(PATIENCE_S)) == 1


@pytest.mark.parametrize(
    ("end", "error"),
    [(Flow.cancel, RequestCancelledError), (None, DeadlineExceededError)],
    ids=["cancelled", "late"],
)
def test_whoever_waits_for_another_stops_when_it_is_not_wanted_any_more(
    shared, texts, encoded, end, error
):
    with held(shared.pipeline) as gate, ThreadPoolExecutor(2) as threads:
        owner = threads.submit(texts.states, TEXTS[:2], 4)
        gate.wait_for_call()
        flow = Flow()
        waiting = waits(texts, threads, TEXTS[:2], flow)
        if end is None:
            flow.deadline = 0.0
        else:
            end(flow)
        with pytest.raises(error):
            waiting.result(PATIENCE_S)
        assert not owner.done()
        gate.opened.set()
        assert len(owner.result(PATIENCE_S)) == 2
    assert encoded() == 2


def test_multiples_of_the_rerankers_ratio_share_what_is_kept(shared, texts, encoded):
    for ratio in (4, 8, 32):
        states = texts.states(TEXTS, ratio)
        assert {one.compression_ratio for one in states} == {ratio}
        assert encoded() == 12
    expected = [shared.encode(TEXTS, compression_ratio=32), states]
    assert_same(expected[1], expected[0])


def test_other_ratios_and_limits_are_kept_apart(shared, texts, encoded):
    kinds = [(4, None), (3, None), (4, 7), (4, 9)]
    made = [texts.states(TEXTS[:1], ratio, max_tokens=most)[0] for ratio, most in kinds]
    assert encoded() == 4
    again = [texts.states(TEXTS[:1], ratio, max_tokens=most)[0] for ratio, most in kinds]
    assert encoded() == 4
    assert all(one.slots is other.slots for one, other in zip(made, again, strict=True))
    assert made[1].compression_ratio == 3


def test_texts_are_cut_at_tokens_of_their_own(shared, texts):
    prefix = len(shared.pipeline.tokenizer.document_prefix)
    for most in (1, 7, 30):
        (states,) = texts.states([LONG], 4, max_tokens=most)
        assert states.token_counts == (prefix + most,)
        assert states.truncated == (True,)
    (at_limit,) = texts.states([LONG], 4, max_tokens=5_000)
    assert at_limit.token_counts == (64,)
    (short,) = texts.states(["word"], 4, max_tokens=30)
    assert short.truncated == (False,)


def test_in_windows_texts_are_cut_at_tokens_of_their_own_too(load):
    reranker = load(long_documents="windows", max_length=32)
    texts = TextStates(reranker, BUDGET)
    tokenizer = reranker.pipeline.tokenizer
    ids, _ = tokenizer.encode_documents([LONG], 10_000)[0]
    prefix = len(tokenizer.document_prefix)
    for most in (20, 45, 100):
        (states,) = texts.states([LONG], 4, max_tokens=most)
        (cut,) = reranker.pipeline.tokenize([LONG], most)
        own = [part[prefix:] for part in cut.windows]
        assert own[0] == ids[prefix:32][: len(own[0])]
        assert own[-1][-1] == ids[prefix + most - 1]
        assert states.token_counts == (cut.num_tokens,)
        assert states.truncated == (True,)
    (whole,) = texts.states([LONG], 4)
    assert whole.truncated == (False,)
    with pytest.raises(TextTooLongError) as caught:
        texts.states(["short", LONG], 4, max_tokens=45, truncate=False)
    assert caught.value.max_tokens == 45


def test_without_a_budget_nothing_is_kept(shared, encoded):
    texts = TextStates(shared, 0)
    (first,) = texts.states(TEXTS[:1], 4)
    (second,) = texts.states(TEXTS[:1], 4)
    assert encoded() == 2
    assert first.identities == second.identities == (None,)
    assert texts.stats().num_items == 0
    assert not texts._under_way


def test_without_a_budget_requests_at_once_still_share(shared, encoded):
    texts = TextStates(shared, 0)
    with held(shared.pipeline) as gate, ThreadPoolExecutor(2) as threads:
        owner = threads.submit(texts.states, TEXTS[:3], 4)
        gate.wait_for_call()
        waiting = waits(texts, threads, TEXTS[:3], Flow())
        gate.opened.set()
        assert_same(waiting.result(PATIENCE_S), owner.result(PATIENCE_S))
    assert encoded() == 3


def test_what_was_not_used_for_longest_makes_room(shared, encoded):
    (one,) = TextStates(shared, BUDGET).states(TEXTS[:1], 4)
    room = 3 * (one.num_bytes + text_states._ITEM_BYTES) + 100
    texts = TextStates(shared, room)
    for text in TEXTS[:3]:
        texts.states([text], 4)
    texts.states(TEXTS[:1], 4)
    texts.states(TEXTS[3:4], 4)  # instead of TEXTS[1]
    before = encoded()
    texts.states([TEXTS[0], TEXTS[2], TEXTS[3]], 4)
    assert encoded() == before
    texts.states([TEXTS[1]], 4)
    assert encoded() == before + 1
    stats = texts.stats()
    assert stats.evictions == 2
    assert stats.used_bytes <= room


def test_a_request_larger_than_all_room_is_answered(shared):
    texts = TextStates(shared, 100)
    assert_same(texts.states(TEXTS, 4), shared.encode(TEXTS))
    assert texts.stats().num_items == 0


def test_what_would_be_cut_and_may_not_is_named_and_nothing_is_encoded(shared, texts, encoded):
    prefix = len(shared.pipeline.tokenizer.document_prefix)
    with pytest.raises(TextTooLongError) as caught:
        texts.states([*TEXTS, LONG], 4, truncate=False)
    assert caught.value.text == LONG
    assert caught.value.max_tokens == 64 - prefix
    with pytest.raises(TextTooLongError) as caught:
        texts.states([TEXTS[0]], 4, max_tokens=3, truncate=False)
    assert caught.value.max_tokens == 3
    assert encoded() == 0
    assert len(texts.states(TEXTS, 4, truncate=False)) == 12


def test_that_holds_for_what_was_cut_and_kept_before(texts, encoded):
    texts.states([LONG], 4)
    assert encoded() == 1
    with pytest.raises(TextTooLongError):
        texts.states([*TEXTS, LONG], 4, truncate=False)
    assert encoded() == 1


def test_a_refusal_does_not_harm_those_who_may_cut(shared, texts):
    """Two requests want the same long text at the same time; one of them only as a whole."""
    tokenize, entered, go_on = shared.pipeline.tokenize, threading.Event(), threading.Event()

    def held_tokenize(*args):
        entered.set()
        assert go_on.wait(PATIENCE_S)
        return tokenize(*args)

    shared.pipeline.tokenize = held_tokenize
    try:
        with ThreadPoolExecutor(2) as threads:
            strict = threads.submit(lambda: texts.states([LONG], 4, truncate=False))
            assert entered.wait(PATIENCE_S)
            lenient = waits(texts, threads, [LONG], Flow())
            go_on.set()
            with pytest.raises(TextTooLongError):
                strict.result(PATIENCE_S)
            assert lenient.result(PATIENCE_S)[0].truncated == (True,)
    finally:
        del shared.pipeline.tokenize


def scored_three_times(shared, texts):
    """Margins, and what the prefix cache found and missed each time."""
    prompt = shared.pipeline.prompt("a river", shared.default_instruction)
    margins, found = [], []
    for _ in range(3):
        (states,) = texts.states([TEXTS[0]], 8)
        before = shared.prefix_cache_stats
        margins += shared.pipeline.score_states([prompt], states, [(0, 0)], False)
        after = shared.prefix_cache_stats
        found.append((after.hits - before.hits, after.misses - before.misses))
    return margins, found


def test_a_text_that_comes_again_finds_its_keys_and_values(shared, texts, monkeypatch):
    monkeypatch.setattr(text_states, "_FEWEST_TOKENS", 8)
    margins, found = scored_three_times(shared, texts)
    assert found == [(0, 1), (1, 0), (1, 0)]
    assert margins[0] == margins[1] == margins[2]  # the same bits, the first time and later


def test_of_short_texts_no_keys_and_values_are_kept(shared, texts):
    margins, found = scored_three_times(shared, texts)
    assert found == [(0, 0)] * 3
    assert margins[0] == margins[1] == margins[2]


def test_every_text_that_is_kept_has_an_identity_of_its_own(shared, texts, monkeypatch):
    monkeypatch.setattr(text_states, "_FEWEST_TOKENS", 4)
    kinds = [(4, None), (3, None), (4, 7), (4, 9)]
    made = [texts.states(TEXTS[:2], ratio, max_tokens=most) for ratio, most in kinds]
    assert len({one.identities for both in made for one in both}) == 8


def test_deterministic_scores_never_depend_on_whether_a_text_came_before(load, monkeypatch):
    reranker = load(deterministic=True)
    texts = TextStates(reranker, BUDGET)
    monkeypatch.setattr(text_states, "_FEWEST_TOKENS", 4)
    assert [texts.states(TEXTS[:1], 4)[0].identities for _ in range(3)] == [(None,)] * 3


def test_what_is_kept_has_memory_of_its_own(texts):
    for one in texts.states([*TEXTS, LONG], 4):
        assert one.slots.untyped_storage().nbytes() == one.num_bytes
