"""The one thread that runs the model: takes what waits, a step at a time."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from kalm_reranker.batching.fair_queue import FairQueue, Step
from kalm_reranker.batching.flow import Flow
from kalm_reranker.batching.listener import Listener, NoListener
from kalm_reranker.batching.step_cost import StepCost
from kalm_reranker.batching.work import Kind, Work
from kalm_reranker.errors import EngineError, NotReadyError

logger = logging.getLogger(__name__)

# Of a request, before the next one has its turn. Two let a request that is a little larger than a
# step pass the others in one go.
_STEPS_OF_A_TURN = 2

# How long the engine waits for work that follows at once on what a step finished: a part of that
# step's time, and never long.
_GRACE_SHARE = 0.25
_LONGEST_GRACE_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCounts:
    """What an engine thread did since it was made, and what waits.

    Attributes:
        steps: Steps run, by kind.
        items: Items of these, by kind.
        units: Tokens of these, by kind.
        seconds: Time they took, by kind.
        shared_steps: Steps with items of several requests, by kind.
        failed_steps: Steps that failed, by kind.
        dropped: Works whose request was cancelled, or too late, before they were begun or
            finished.
        waiting_works: Works that wait now.
        waiting_s: Time that those are expected to take.
    """

    steps: dict[str, int] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    units: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    shared_steps: dict[str, int] = field(default_factory=dict)
    failed_steps: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    waiting_works: int = 0
    waiting_s: float = 0.0


class EngineThread:
    """Runs submitted work in steps of about equal length, fairly between requests.

    Args:
        target_step_s: Seconds that one request's part of a step should take. Requests join and
            leave between steps, so this is about how long a small one waits for a large one.
        listener: Is told how long each step took.
    """

    def __init__(self, target_step_s: float, listener: Listener | None = None) -> None:
        self._target_s = target_step_s
        self._listener = listener or NoListener()
        self._costs: dict[str, StepCost] = {}
        self._changed = threading.Condition()  # guards all below
        self._queue = FairQueue(self._cost_of, _STEPS_OF_A_TURN * target_step_s)
        self._closing = False
        self._counts = {
            name: Counter[str]() for name in ("steps", "items", "shared_steps", "failed_steps")
        }
        self._units: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="kalm-engine", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(
        self, flow: Flow, kind: Kind, items: Sequence[Any], units: Sequence[float]
    ) -> "Future[list[Any]]":
        """Has items computed.

        Args:
            flow: The request that they are for.
            kind: Of all items.
            items: What to compute.
            units: Cost of each, in tokens.

        Returns:
            The results in the items' order, later; or the error of the kind's `run`,
            `RequestCancelledError`, `DeadlineExceededError`, or `NotReadyError` where the thread
            has ended.
        """
        work = Work(flow, kind, items, units)
        if not items:
            work.future.set_result([])
            return work.future
        with self._changed:
            if self._closing:
                work.fail(_ended())
            else:
                self._queue.put(work)
                self._changed.notify_all()
        return work.future

    def counts(self) -> EngineCounts:
        """Returns what was done, and what waits."""
        with self._changed:
            return EngineCounts(
                **{name: dict(counter) for name, counter in self._counts.items()},
                units=dict(self._units),
                seconds=dict(self._seconds),
                dropped=self._queue.num_dropped,
                waiting_works=len(self._queue),
                waiting_s=self._queue.waiting_s(),
            )

    def close(self) -> None:
        """Ends the thread after the step that runs; work that waits fails with `NotReadyError`."""
        with self._changed:
            self._closing = True
            for work in self._queue.drain():
                work.fail(_ended())
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._run_next():
                pass
        finally:
            # Normally there is nothing left. Whatever ended it, nobody may wait for ever.
            with self._changed:
                self._closing = True
                for work in self._queue.drain():
                    work.fail(_ended())

    def _run_next(self) -> bool:
        """Runs a step; keeps nothing of it when it returns. False where the thread is to end."""
        with self._changed:
            step = self._next_step()
        if step is None:
            return False
        start = time.perf_counter()
        has_failed = not self._run_step(step)
        seconds = time.perf_counter() - start
        with self._changed:
            self._note(step, seconds, has_failed=has_failed)
            self._await_followers(step, seconds)
        step.forget()
        try:
            self._listener.step_took(seconds)
        except Exception:
            logger.exception("a step could not be reported")
        return True

    def _next_step(self) -> Step | None:
        """Waits for work and takes a step of it; None where the thread is to end."""
        while not self._closing:
            step = self._queue.next_step(self._target_s)
            if step is not None:
                return step
            self._changed.wait()
        return None

    def _await_followers(self, step: Step, seconds: float) -> None:
        """Waits, for a moment, for what requests submit next when a step ended their work."""
        flows = {id(work.flow): work.flow for work, _ in step.members if work.future.done()}
        end = time.monotonic() + min(_LONGEST_GRACE_S, _GRACE_SHARE * seconds)
        while not self._closing:
            here = {id(work.flow) for work in self._queue.waiting}
            left = end - time.monotonic()
            is_expected = any(flow.continues and name not in here for name, flow in flows.items())
            if not is_expected or left <= 0:
                return
            self._changed.wait(left)

    def _run_step(self, step: Step) -> bool:
        """Runs a step; if it fails, that of each request alone, so that one cannot harm others.

        Returns whether it did not fail.
        """
        error = self._try(step)
        if error is None:
            return True
        alone = list(step.by_work())
        if len(alone) == 1:
            alone[0].members[0][0].fail(error)
            alone[0].forget()
            del error  # its frames hold this one
            return False
        logger.warning("a step of %d requests failed; each is run alone: %s", len(alone), error)
        del error  # and with it what its frames hold: it may be for lack of memory
        for part in alone:
            self._run_step(part)
            part.forget()
        return False

    def _try(self, step: Step) -> BaseException | None:
        """Runs a step and hands its results out; returns the error if it fails."""
        try:
            results = step.kind.run([work.items[index] for work, index in step.members])
            if len(results) != len(step.members):
                raise EngineError(f"{len(results)} results for {len(step.members)} items.")
        except BaseException as error:  # also SystemExit: whoever waits must hear of it
            return error
        for (work, index), result in zip(step.members, results, strict=True):
            work.finish(index, result)
        return None

    def _note(self, step: Step, seconds: float, *, has_failed: bool) -> None:
        name = step.kind.name
        if not has_failed:  # else it ended early, or ran several times
            self._cost_of(name).seen(step.units, seconds)
        self._counts["steps"][name] += 1
        self._counts["items"][name] += len(step.members)
        self._counts["shared_steps"][name] += step.num_flows() > 1
        self._counts["failed_steps"][name] += has_failed
        self._units[name] = self._units.get(name, 0.0) + step.units
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def _cost_of(self, name: str) -> StepCost:
        return self._costs.setdefault(name, StepCost())


def _ended() -> NotReadyError:
    return NotReadyError("The engine has stopped: the server is ending.")
