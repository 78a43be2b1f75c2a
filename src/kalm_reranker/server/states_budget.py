"""How many bytes of passage states the requests in work may hold together."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kalm_reranker.batching.flow import current_flow

_LOOK_S = 0.1  # how often a request that waits looks whether it is still wanted


class StatesBudget:
    """Lends bytes. Safe to use from several threads.

    Whoever fits goes: a small request does not wait behind a large one. One that is larger than
    everything goes alone.

    Args:
        num_bytes: To lend.
    """

    def __init__(self, num_bytes: int) -> None:
        self._total = num_bytes
        self._lent = 0
        self._given_back = threading.Condition()

    @contextmanager
    def lend(self, num_bytes: int) -> Iterator[None]:
        """Waits for bytes, and takes them for the length of a block.

        Raises:
            ServiceError: The current flow was cancelled, or is too late.
        """
        flow = current_flow()
        with self._given_back:
            while self._lent and self._lent + num_bytes > self._total:
                self._given_back.wait(_LOOK_S)
                flow.check()
            self._lent += num_bytes
        try:
            yield
        finally:
            with self._given_back:
                self._lent -= num_bytes
                self._given_back.notify_all()
