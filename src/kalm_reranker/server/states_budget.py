"""How many bytes of passage states the requests in work may hold together."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kalm_reranker.batching.flow import current_flow

_PATIENCE_S = 1.0  # how long others may go first
_LOOK_S = 0.1  # how often a request that waits looks whether it is still wanted


class StatesBudget:
    """Lends bytes. Safe to use from several threads.

    Whoever fits goes: a small request does not wait behind a large one, unless that has waited for
    a second. One that is larger than everything goes alone.

    Args:
        num_bytes: To lend.
    """

    def __init__(self, num_bytes: int) -> None:
        self._total = num_bytes
        self._lent = 0
        self._given_back = threading.Condition()
        self._waiting: list[float] = []  # since when, by `time.monotonic()`; the longest first

    @contextmanager
    def lend(self, num_bytes: int) -> Iterator[None]:
        """Waits for bytes, and takes them for the length of a block.

        Raises:
            ServiceError: The current flow was cancelled, or is too late.
        """
        flow = current_flow()
        since = time.monotonic()
        with self._given_back:
            self._waiting.append(since)
            try:
                while not self._may_take(num_bytes, since):
                    self._given_back.wait(_LOOK_S)
                    flow.check()
                self._lent += num_bytes
            finally:
                self._waiting.remove(since)
        try:
            yield
        finally:
            with self._given_back:
                self._lent -= num_bytes
                self._given_back.notify_all()

    def _may_take(self, num_bytes: int, since: float) -> bool:
        longest = self._waiting[0]
        if longest < since and time.monotonic() - longest > _PATIENCE_S:
            return False
        return not self._lent or self._lent + num_bytes <= self._total
