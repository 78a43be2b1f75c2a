"""Gates before a real model, and the ways that tests of the service share."""

import asyncio
import threading
import time
from contextlib import contextmanager

from kalm_reranker.batching.batched_compute import BatchedCompute
from kalm_reranker.batching.engine_thread import EngineThread
from kalm_reranker.server.calls import DocumentInput, ScoreCall

PATIENCE_S = 30  # for what happens at once, or never
TARGET_S = 0.02


class Held:
    """A pipeline's compute whose `encode` waits at a gate; the model runs for real.

    Attributes:
        opened: The gate.
        entered: How many calls came to it.
        passages: What each of them was to encode.
    """

    def __init__(self, compute):
        self.compute = compute
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.passages = []

    def encode(self, passages, *args, **options):
        self.passages.append(passages)
        self.entered.release()
        assert self.opened.wait(PATIENCE_S)
        return self.compute.encode(passages, *args, **options)

    def score(self, *args, **options):
        return self.compute.score(*args, **options)

    def wait_for_call(self):
        assert self.entered.acquire(timeout=PATIENCE_S)


@contextmanager
def held(pipeline):
    """Has encoding wait until the gate is opened; at the end it is."""
    before = pipeline.compute
    pipeline.compute = gate = Held(before)
    try:
        yield gate
    finally:
        gate.opened.set()
        pipeline.compute = before


@contextmanager
def batched(reranker):
    """Has a reranker run in an engine thread."""
    pipeline, engine = reranker.pipeline, EngineThread(TARGET_S)
    pipeline.compute = BatchedCompute(engine, pipeline.direct)
    try:
        yield engine
    finally:
        engine.close()
        pipeline.compute = pipeline.direct


def wait_until(condition):
    """Waits for what other threads are about to do."""
    end = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        pause.wait(0.002)


def soon():
    """A deadline that nothing reaches."""
    return time.monotonic() + PATIENCE_S


def call_of(query, documents, *, pairs=None, **options):
    """A call; a document is a text, or the id of a stored passage in a list of one."""
    queries = (query,) if isinstance(query, str) else tuple(query)
    inputs = tuple(
        DocumentInput(text=one) if isinstance(one, str) else DocumentInput(id=one[0])
        for one in documents
    )
    if pairs is None:
        pairs = [(0, place) for place in range(len(inputs))]
    return ScoreCall(queries=queries, documents=inputs, pairs=tuple(pairs), **options)


def score(service, call, deadline=None):
    return asyncio.run(service.score(call, deadline or soon()))


def margins(result):
    return [pair.margin for pair in result.pairs]
