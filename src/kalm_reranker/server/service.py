"""Answers calls with a reranker, and an index where there is one, through one engine thread."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kalm_reranker.batching.batched_compute import BatchedCompute
from kalm_reranker.batching.engine_thread import EngineThread
from kalm_reranker.batching.flow import Flow, current_flow, working_for
from kalm_reranker.batching.listener import Listener, NoListener
from kalm_reranker.engine.placement import dtype_name
from kalm_reranker.engine.threads import compute_alone
from kalm_reranker.errors import (
    DeadlineExceededError,
    NoIndexError,
    NotReadyError,
    StoreBusyError,
)
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.options import UNSET
from kalm_reranker.reranker import KaLMReranker
from kalm_reranker.search.filters import Predicate, predicate_of
from kalm_reranker.server.answering import ModelFacts
from kalm_reranker.server.calls import (
    AddResult,
    PassageInput,
    ScoreCall,
    ScoreResult,
    SearchCall,
)
from kalm_reranker.server.counting import service_counts
from kalm_reranker.server.instructions import check_instruction
from kalm_reranker.server.scoring import Scorer
from kalm_reranker.server.settings import Limits
from kalm_reranker.server.states_budget import StatesBudget
from kalm_reranker.server.text_states import TextStates
from kalm_reranker.server.unknown_ids import naming_unknown
from kalm_reranker.store.passage import Passage

if TYPE_CHECKING:
    from kalm_reranker.search.results import SearchResults

_T = TypeVar("_T")
_SPARE_THREADS = 8  # beside one for each request that may be pending
# How often a request that waits for another writer looks whether it is still wanted.
_LOOK_S = 0.1
_LONGEST_BUSY_S = 10.0  # that another process writes to the index: it may well go on for hours


def public_name(reranker: KaLMReranker) -> str:
    """Returns what a model may be called in public: a directory's path stays private."""
    name = reranker.checkpoint.name
    return Path(name).name if Path(name).is_absolute() or Path(name).is_dir() else name


class Service:
    """Answers calls. Each one waits in a thread of its own; the model runs in one thread for all.

    Args:
        reranker: The model; its pipeline is from now on used through the engine thread.
        limits: Of the server.
        index: Of the same model; `reranker` is its own.
        listener: Is told of waiting times and steps.
    """

    def __init__(
        self,
        reranker: KaLMReranker,
        limits: Limits,
        *,
        index: PassageIndex | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._reranker = reranker
        self._index = index
        self._limits = limits
        self._listener = listener or NoListener()
        self._engine = EngineThread(limits.target_step_s, self._listener)
        self._shared: list[KaLMReranker] = []
        self._share(reranker)
        self._texts = TextStates(reranker, limits.text_cache_bytes)
        self._scorer = Scorer(reranker, self._texts, StatesBudget(limits.states_bytes), index)
        # A thread per request that waits: they sleep until the engine has their results.
        self._threads = ThreadPoolExecutor(
            limits.max_pending_requests + _SPARE_THREADS,
            thread_name_prefix="kalm-request",
            initializer=compute_alone,
        )
        self._created = int(time.time())
        self._writing = threading.Lock()
        self._closed = False
        self._num_calls = self._num_documents = self._num_abandoned = 0
        self._queued_s = 0.0

    async def score(self, call: ScoreCall, deadline: float) -> ScoreResult:
        """Scores pairs; see `Answering`."""
        self._num_documents += len(call.documents)

        def work() -> ScoreResult:
            self._check_instruction(call.instruction)
            return self._scorer.score(call)

        return await self._in_thread(deadline, work)

    async def search(self, call: SearchCall, deadline: float) -> "SearchResults":
        """Searches the index; see `Answering`."""
        index = self._needed_index()

        def work() -> "SearchResults":
            self._check_instruction(call.instruction)
            return _search(index, call)

        return await self._in_thread(deadline, work)

    async def add(self, passages: Sequence[PassageInput], deadline: float) -> AddResult:
        """Stores passages; see `Answering`."""
        index = self._needed_index()
        return await self._in_thread(deadline, lambda: self._add(index, passages, deadline))

    async def delete(self, ids: Sequence[str], *, missing_ok: bool) -> int:
        """Deletes passages; see `Answering`."""
        index = self._needed_index()

        def work() -> int:
            with self._turn_to_write(), naming_unknown(index, ids):
                return index.delete(ids, missing_ok=missing_ok)

        return await self._in_thread(None, work)

    async def get(self, ids: Sequence[str]) -> list[Passage]:
        """Returns stored passages; see `Answering`."""
        index = self._needed_index()

        def work() -> list[Passage]:
            with naming_unknown(index, ids):
                return index.get_many(ids)

        return await self._in_thread(None, work)

    def facts(self) -> ModelFacts:
        """Returns what is to be said of the model.

        Raises:
            NotReadyError: The engine's thread has ended.
        """
        if not self._engine.is_alive:
            raise NotReadyError("The engine has stopped.")
        reranker, index = self._reranker, self._index
        options, tokenizer = reranker.options, reranker.pipeline.tokenizer
        return ModelFacts(
            name=public_name(reranker),
            fingerprint=reranker.provenance.model_fingerprint,
            dtype=dtype_name(reranker.dtype),
            device=str(reranker.device),
            engine=reranker.engine.name,
            quantization=reranker.quantization or "none",
            compression_ratio=reranker.compression_ratio,
            max_length=options.max_length,
            document_prefix_tokens=len(tokenizer.document_prefix),
            query_max_length=options.query_max_length,
            long_documents=options.long_documents,
            special_tokens=tokenizer.special_tokens,
            deterministic=options.deterministic,
            default_instruction=reranker.default_instruction,
            calibrated=reranker.calibration is not None,
            index_passages=None if index is None else len(index),
            index_ratio=None if index is None else index.header.compression_ratio,
            created=self._created,
        )

    def counts(self) -> dict[str, Any]:
        """Returns running totals by name."""
        return {
            "requests": self._num_calls,
            "documents": self._num_documents,
            "cancelled_flows": self._num_abandoned,
            "queue_seconds": self._queued_s,
            **service_counts(self._reranker, self._engine.counts(), self._texts, self._index),
        }

    def close(self) -> None:
        """Stops the engine and closes the index; blocks until the batch that runs has ended."""
        self._closed = True
        self._engine.close()
        self._threads.shutdown()
        for reranker in self._shared:
            reranker.pipeline.compute = reranker.pipeline.direct
        if self._index is not None:
            self._index.close()

    def _check_instruction(self, instruction: str | None) -> None:
        tokenizer = self._reranker.pipeline.tokenizer
        check_instruction(tokenizer, instruction, self._limits.max_instruction_tokens)

    def _share(self, reranker: KaLMReranker) -> None:
        """Has a model's pipeline run in the engine thread."""
        pipeline = reranker.pipeline
        if pipeline.compute is pipeline.direct:
            pipeline.compute = BatchedCompute(self._engine, pipeline.direct)
            self._shared.append(reranker)

    def _add(
        self, index: PassageIndex, passages: Sequence[PassageInput], deadline: float
    ) -> AddResult:
        given = [Passage(one.id, one.text, dict(one.metadata or {}) or None) for one in passages]
        with self._turn_to_write():
            self._share(index.encoder)  # another model than that for queries, if its dtype differs
            busy_until = min(deadline, time.monotonic() + _LONGEST_BUSY_S)
            while True:
                try:
                    report = index.add(given, show_progress=False, wait_s=_LOOK_S)
                    break
                except StoreBusyError:  # another process writes
                    self._check_wanted()
                    if time.monotonic() > busy_until:
                        raise
        return AddResult(
            added=report.added,
            replaced=report.replaced,
            metadata_updated=report.metadata_updated,
            unchanged=report.unchanged,
            truncated=report.truncated,
            notes=_told(report.notes, index),
        )

    def _needed_index(self) -> PassageIndex:
        if self._index is None:
            raise NoIndexError(
                "This server has no index, so there are no stored passages.",
                hint="Start it with --index FOLDER, or send documents as text.",
            )
        return self._index

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        """Waits for others who write to the index, for as long as the request is wanted.

        Raises:
            ServiceError: It is not any more.
        """
        while not self._writing.acquire(timeout=_LOOK_S):
            self._check_wanted()
        try:
            yield
        finally:
            self._writing.release()

    def _check_wanted(self) -> None:
        if self._closed:
            raise NotReadyError("The server is ending.")
        current_flow().check()

    async def _in_thread(self, deadline: float | None, work: Callable[[], _T]) -> _T:
        """Runs a call in a thread; if it is cancelled here, its work in the engine is dropped.

        Raises:
            NotReadyError: The service was closed.
        """
        if self._closed:
            raise NotReadyError("The engine has stopped.")
        flow = Flow() if deadline is None else Flow(deadline)
        self._num_calls += 1

        def run() -> _T:
            with working_for(flow):
                flow.check()
                return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except (asyncio.CancelledError, DeadlineExceededError):
            flow.cancel()
            self._num_abandoned += 1
            raise
        finally:
            self._queued_s += flow.queued_s
            self._listener.queue_waited(flow.queued_s)


def _search(index: PassageIndex, call: SearchCall) -> "SearchResults":
    results = index.search(
        call.query,
        call.top_k,
        candidates=call.candidates,
        instruction=call.instruction,
        first_stage=call.first_stage,
        compression_ratio=call.compression_ratio,
        # A ratio of the request's own is for one pass.
        **({} if call.compression_ratio is UNSET else {"cascade": None}),
        fuse=call.fuse,
        filter=None if call.filter is None else _while_wanted(predicate_of(call.filter)),
    )
    return replace(results, notes=_told(results.notes, index))


def _while_wanted(matches: Predicate) -> Predicate:
    """Returns a filter that ends the search as soon as its request is cancelled or too late.

    One that matches nothing reads the metadata of all passages that the first stage can find.
    """
    flow = current_flow()

    def matches_if_wanted(metadata: Mapping[str, Any]) -> bool:
        flow.check()
        return matches(metadata)

    return matches_if_wanted


def _told(notes: Iterable[str], index: PassageIndex) -> tuple[str, ...]:
    """Returns notes as clients may read them: some name files of the index."""
    folders = {str(index.folder), str(index.folder.absolute()), str(index.folder.resolve())}
    told = list(notes)
    for folder in sorted(folders, key=len, reverse=True):
        told = [note.replace(folder, "the index") for note in told]
    return tuple(told)
