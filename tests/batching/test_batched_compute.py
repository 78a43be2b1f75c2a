"""Many requests through one engine thread have the numbers that each would have alone."""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from kalm_reranker import KaLMReranker
from kalm_reranker.batching.batched_compute import BatchedCompute
from kalm_reranker.batching.engine_thread import EngineThread
from kalm_reranker.batching.flow import Flow, working_for
from kalm_reranker.batching.kinds import Encode
from kalm_reranker.engine.compute import DirectCompute
from kalm_reranker.errors import (
    DeadlineExceededError,
    NonFiniteScoreError,
    NotReadyError,
    RequestCancelledError,
)
from kalm_reranker.index.passage_index import PassageIndex
from tests.parity.random_checkpoints import TINY, build_checkpoint

WORDS = "river stone cloud mill bread song glass north copper field lamp paper winter".split()
INSTRUCTIONS = [None, "Given a claim, find documents that refute it.", "Find the answer."]
TARGET_S = 0.005  # short steps: even small requests take several, with others' work between
CLOSE = {"rtol": 0, "atol": 1e-4}  # contract 1


def text(some, most_words=60):
    return " ".join(some.choices(WORDS, k=some.randint(0, most_words)))


@contextmanager
def batched(reranker, target_s=TARGET_S):
    """Has a reranker run in an engine thread."""
    pipeline = reranker.pipeline
    engine = EngineThread(target_s)
    pipeline.compute = BatchedCompute(engine, pipeline.direct)
    try:
        yield engine
    finally:
        engine.close()
        pipeline.compute = pipeline.direct


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    folder = build_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny", **TINY)

    def load(**options):
        return KaLMReranker(folder, dtype="float32", **{"max_length": 128, **options})

    return load


@pytest.fixture(scope="module")
def reranker(load):
    return load()


def requests(seed, count):
    """(query, documents, instruction, ratio) of mixed sizes; some documents are the same."""
    some = random.Random(seed)
    popular = [text(some) for _ in range(5)]
    made = []
    for _ in range(count):
        size = some.choice([1, 1, 3, 5, 12])
        documents = [
            some.choice(popular) if some.random() < 0.3 else text(some) for _ in range(size)
        ]
        query = "q " + text(some, 12)
        made.append((query, documents, some.choice(INSTRUCTIONS), some.choice([2, 4, 8])))
    return made


def margins(reranker, request):
    """Through both ways: texts that are scored at once, and states that are kept."""
    query, documents, instruction, ratio = request
    pairs = [(query, document) for document in documents]
    at_once = reranker.predict(pairs, instruction, return_margin=True, compression_ratio=ratio)
    states = reranker.encode(documents, compression_ratio=ratio)
    kept = reranker.score(query, states, instruction, return_margin=True)
    return [pair.margin for pair in at_once], [pair.margin for pair in kept]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prefix_cache_bytes": 0},
        {"long_documents": "windows", "max_length": 32},
        {"batch_size": 3, "token_budget": 300},
    ],
    ids=["cache", "no cache", "windows", "small batches"],
)
def test_margins_are_those_of_the_reranker_alone(load, options):
    reranker = load(**options)
    wanted = requests(len(options), 20)
    direct = [margins(reranker, request) for request in wanted]
    with batched(reranker) as engine, ThreadPoolExecutor(16) as threads:
        together = list(threads.map(lambda request: margins(reranker, request), wanted))
        counts = engine.counts()
    for got, expected in zip(together, direct, strict=True):
        for ours, theirs in zip(got, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, **CLOSE)
    assert counts.shared_steps["score"] > 0  # requests did run together
    assert counts.shared_steps["encode"] > 0
    assert counts.failed_steps["score"] == counts.failed_steps["encode"] == 0


def test_deterministic_scores_are_bitwise_those_of_the_reranker_alone(load):
    reranker = load(deterministic=True)
    wanted = requests(7, 8)
    direct = [margins(reranker, request) for request in wanted]
    with batched(reranker), ThreadPoolExecutor(16) as threads:
        assert list(threads.map(lambda request: margins(reranker, request), wanted)) == direct


def test_encoding_gives_the_states_of_direct_encoding(reranker):
    some = random.Random(3)
    documents = [text(some) for _ in range(40)]
    direct = reranker.encode(documents)
    with batched(reranker):
        states = reranker.encode(documents)
        empty = reranker.encode([])
    assert states.token_counts == direct.token_counts
    assert states.slots.dtype == direct.slots.dtype
    torch.testing.assert_close(states.slots, direct.slots, rtol=0, atol=1e-4)
    assert empty.slots.shape == (0, reranker.width)
    assert empty.slots.dtype == direct.slots.dtype


def test_progress_is_told(reranker):
    with batched(reranker):
        compute, told = reranker.pipeline.compute, []
        compute.encode([[1, 2], [3]], 4, store_on=torch.device("cpu"), on_progress=told.append)
        assert told == [2]


def test_an_index_through_it_holds_and_finds_the_same(reranker, tmp_path):
    some = random.Random(5)
    passages = [(str(number), text(some)) for number in range(40)]
    changed = [("3", "copper river"), ("new", "a lamp of paper")]
    queries = ["copper river mill", "bread and song", "lamp"]
    found = []
    for name in ("direct", "batched"):
        with PassageIndex.create(tmp_path / name, reranker) as index:
            if name == "direct":
                index.add(passages)
                index.add(changed)
                found.append([index.search(query, 8) for query in queries])
            else:
                with batched(reranker), ThreadPoolExecutor(4) as threads:
                    index.add(passages)
                    index.add(changed)
                    found.append(list(threads.map(lambda query: index.search(query, 8), queries)))
    for ours, theirs in zip(*found, strict=True):
        assert {result.id for result in ours} == {result.id for result in theirs}
        expected = {result.id: result.margin for result in theirs}
        for result in ours:
            assert result.margin == pytest.approx(expected[result.id], abs=1e-4)


def test_whoever_is_not_wanted_any_more_is_stopped_before_the_model_runs(reranker):
    with batched(reranker) as engine:
        gone = Flow()
        gone.cancel()
        for flow, error in (
            (gone, RequestCancelledError),
            (Flow(deadline=0.0), DeadlineExceededError),
        ):
            with working_for(flow), pytest.raises(error):
                reranker.predict([("q", "d")])
        assert engine.counts().steps == {}
        assert engine.counts().dropped == 2


def test_damaged_states_fail_their_own_request_alone(reranker):
    some = random.Random(9)
    sound = [reranker.encode([text(some) for _ in range(4)]) for _ in range(6)]
    damaged = reranker.encode(["damaged"])
    damaged.slots[:] = torch.nan
    expected = [reranker.score("a river", states) for states in sound]
    with batched(reranker, target_s=0.05), ThreadPoolExecutor(7) as threads:
        bad = threads.submit(reranker.score, "a river", damaged)
        good = [threads.submit(reranker.score, "a river", states) for states in sound]
        assert isinstance(bad.exception(30), NonFiniteScoreError)
        for future, scores in zip(good, expected, strict=True):
            np.testing.assert_allclose(future.result(30), scores, **CLOSE)


def test_after_the_end_nobody_waits(reranker):
    with batched(reranker) as engine:
        engine.close()
        with pytest.raises(NotReadyError):
            reranker.predict([("q", "d")])


def test_what_is_kept_of_a_passage_is_its_own_memory(reranker):
    """Not a view of a batch that other requests' passages were in."""
    kind = Encode(reranker.pipeline.direct, 4, torch.device("cpu"))
    for slots in kind.run([[1] * 9, [2] * 50, [3]]):
        assert slots.untyped_storage().nbytes() == slots.numel() * slots.element_size()


def test_whoever_was_cancelled_while_the_last_step_ran_does_not_go_on(reranker, monkeypatch):
    """It would tokenize, join and copy for nobody."""
    flow, encode = Flow(), DirectCompute.encode

    def cancelled_meanwhile(*args, **options):
        flow.cancel()
        return encode(*args, **options)

    monkeypatch.setattr(DirectCompute, "encode", cancelled_meanwhile)
    with batched(reranker), working_for(flow), pytest.raises(RequestCancelledError):
        reranker.encode(["a text"])
