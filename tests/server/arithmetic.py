"""A service that needs no model: a pair's margin is a sum that a test can do in its head.

What stands between the socket and the service is the same for any service; the end-to-end tests
have a real one.
"""

import asyncio
import threading
import time

from kalm_reranker.errors import NotReadyError, UnknownPassageError
from kalm_reranker.scoring import score_from_margin
from kalm_reranker.server.answering import ModelFacts
from kalm_reranker.server.calls import AddResult, PairResult, ScoreResult
from kalm_reranker.store.passage import Passage

FACTS = ModelFacts(
    name="arithmetic",
    fingerprint="0" * 64,
    dtype="float32",
    device="cpu",
    engine="eager",
    quantization="none",
    compression_ratio=4,
    max_length=1024,
    document_prefix_tokens=3,
    query_max_length=512,
    long_documents="truncate",
    special_tokens="text",
    deterministic=True,
    default_instruction="Count.",
    calibrated=False,
    index_passages=0,
    index_ratio=4,
    created=1_700_000_000,
)


class Arithmetic:
    """Scores pairs by common words minus words of the document that the query lacks.

    Attributes:
        delay_s: How long a call takes.
        gate: Calls wait until it returns True.
        calls: Calls that began.
        cancelled: Calls that were cancelled.
        finished: Calls that were answered.
        closed: Whether it was closed.
        alive: Whether its engine runs; tests set it to False.
    """

    def __init__(self, delay_s=0.0, gate=lambda: True):
        self.delay_s = delay_s
        self.gate = gate
        self.calls = 0
        self.cancelled = 0
        self.finished = 0
        self.closed = threading.Event()
        self.alive = True
        self.passages = {}

    async def score(self, call, deadline):
        self.calls += 1
        try:
            await asyncio.sleep(self.delay_s)
            while not self.gate():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        texts = [self.get_one(d.id).text if d.text is None else d.text for d in call.documents]
        margins = [margin(call.queries[i], texts[j]) for i, j in call.pairs]
        self.finished += 1
        return ScoreResult(
            pairs=tuple(PairResult(score_from_margin(m), score_from_margin(m), m) for m in margins),
            texts={},
            truncated=(),
            queries_truncated=(),
            total_tokens=sum(len(text.split()) for text in texts),
            compression_ratio=4,
        )

    async def add(self, passages, deadline):
        for passage in passages:
            self.passages[passage.id] = Passage(
                id=passage.id, text=passage.text, metadata=dict(passage.metadata or {})
            )
        return AddResult(
            added=len(passages),
            replaced=0,
            metadata_updated=0,
            unchanged=0,
            truncated=0,
            notes=(),
        )

    async def get(self, ids):
        return [self.get_one(name) for name in ids]

    async def delete(self, ids, *, missing_ok):
        return sum(self.passages.pop(name, None) is not None for name in ids)

    def get_one(self, name):
        if name not in self.passages:
            raise UnknownPassageError(f"there is no passage {name!r}.")
        return self.passages[name]

    def facts(self):
        if not self.alive:
            raise NotReadyError("the engine has stopped.")
        return FACTS

    def counts(self):
        return {"requests": self.finished}

    def close(self):
        self.closed.set()


def margin(query, text):
    wanted, had = set(query.lower().split()), set(text.lower().split())
    return float(len(wanted & had) - len(had - wanted))


def load_slowly(seconds, service):
    """A `Load` that takes a while."""

    def load(settings, listener):
        time.sleep(seconds)
        return service

    return load
