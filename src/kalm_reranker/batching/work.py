"""Work that is submitted to the engine, and what kinds of it there are."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Protocol

from kalm_reranker.batching.flow import Flow


class Kind(Protocol):
    """A kind of work: items of equal kinds, of whatever requests, can run in one step."""

    @property
    def name(self) -> str:
        """What it is, "encode" or "score": kinds of one name cost alike."""
        ...

    def run(self, items: Sequence[Any]) -> Sequence[Any]:
        """Returns the result of each item; called in the engine's thread."""
        ...

    def __hash__(self) -> int: ...

    def __eq__(self, other: object) -> bool: ...


class Work:
    """Items of one kind that a request waits for.

    Args:
        flow: The request.
        kind: Of all items.
        items: What to compute.
        units: Cost of each item, in tokens.
    """

    def __init__(
        self, flow: Flow, kind: Kind, items: Sequence[Any], units: Sequence[float]
    ) -> None:
        self.flow = flow
        self.kind = kind
        self.items = items
        self.units = units
        self.future: Future[list[Any]] = Future()
        self.tag = 0.0  # the queue's: when its turn would end
        self.turn_units = 0.0  # the queue's: what is left of its turn
        self.units_left = float(sum(units))  # of items that are in no step yet
        # Largest first: a step of items alike wastes little on padding. The end is taken first.
        self._left = sorted(range(len(items)), key=lambda index: units[index])
        self._results: list[Any] = [None] * len(items)
        self._num_open = len(items)
        self._submitted = time.perf_counter()
        self._begun = False

    @property
    def is_taken(self) -> bool:
        """Whether every item is in a step, or was."""
        return not self._left

    def peek(self) -> float:
        """Returns the cost of the item that is next."""
        return self.units[self._left[-1]]

    def take(self) -> int:
        """Returns the next item's index; it is in a step from now on."""
        if not self._begun:
            self._begun = True
            self.flow.queued_s += time.perf_counter() - self._submitted
        index = self._left.pop()
        self.units_left -= self.units[index]
        self.turn_units -= self.units[index]
        return index

    def finish(self, index: int, result: Any) -> None:  # noqa: ANN401
        """Keeps the result of an item; with the last one, whoever waits gets all of them."""
        self._results[index] = result
        self._num_open -= 1
        if not self._num_open:
            with suppress(InvalidStateError):  # given up meanwhile
                self.future.set_result(self._results)

    def fail(self, error: BaseException) -> None:
        """Gives up: whoever waits gets the error."""
        self._left.clear()
        with suppress(InvalidStateError):
            self.future.set_exception(error)
