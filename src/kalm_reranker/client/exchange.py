"""What the calls of one client share: its connection, and what is known of the server."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from kalm_reranker.client.attempts import Chance, answered
from kalm_reranker.client.bodies import RequestLimits, end_of_part
from kalm_reranker.client.connection import Connection
from kalm_reranker.client.reading import Answer, answer_in
from kalm_reranker.client.steps import Call, Reply, Steps
from kalm_reranker.errors import ServerRefusedError

T = TypeVar("T")

_TOO_LARGE = 413
_NO_SUCH_PATH = (404, 405)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a list that goes into a request of its own: `items[start:end]`."""

    start: int
    end: int


class Exchange:
    """Sends requests, in parts where a list is too long for one.

    Threads may share it: what it learns is one reference, replaced whole.

    Args:
        connection: Where the server is.
        chance: Clock and dice.
    """

    def __init__(self, connection: Connection, chance: Chance | None = None) -> None:
        self.connection = connection
        self._chance = Chance() if chance is None else chance
        self._limits: RequestLimits | None = None

    def reply(self, call: Call) -> Steps[Reply]:
        """Returns what the server answered, with a status of 2xx."""
        return answered(call, self.connection, self._chance)

    def ask(self, call: Call) -> Steps[Answer]:
        """Returns the object that the server answered."""
        reply = yield from self.reply(call)
        return answer_in(reply, call)

    def in_parts(
        self,
        items: Sequence[bytes],
        send: Callable[[Part], Steps[T]],
        *,
        around: int = 0,
        most_bytes: int = sys.maxsize,
    ) -> Steps[list[T]]:
        """Sends a list in as few requests as the server takes, one after another.

        Args:
            items: As they stand in a request.
            send: Sends the items of a part.
            around: Bytes of a request besides them.
            most_bytes: Of a request, where it is no body, which the server has a limit for.

        Returns:
            What `send` returned for each part, in order.
        """

        def end_of(start: int) -> int:
            limits = self._limits or RequestLimits()
            fitting = replace(limits, max_body_bytes=min(limits.max_body_bytes, most_bytes))
            return end_of_part(items, start, fitting, around)

        if self._limits is None and end_of(0) < len(items):
            yield from self._learn_limits()  # it may take more than what is usual
        done: list[T] = []
        start = 0
        while start < len(items):
            end = end_of(start)
            try:
                done.append((yield from send(Part(start, end))))
            except ServerRefusedError as error:
                if error.status != _TOO_LARGE:
                    raise
                # It takes less than what is usual, or than it did when it was asked.
                yield from self._learn_limits()
                if end_of(start) >= end:
                    raise
            else:
                start = end
        return done

    def _learn_limits(self) -> Steps[None]:
        try:
            answer = yield from self.ask(Call(method="GET", path="/info"))
        except ServerRefusedError as error:
            if error.status not in _NO_SUCH_PATH:
                raise
            self._limits = RequestLimits()  # a gateway that passes on some paths only
            return
        limits = answer.object("limits")
        self._limits = RequestLimits(
            max_documents=max(1, limits.count("max_documents")),
            max_body_bytes=limits.count("max_body_bytes"),
        )
