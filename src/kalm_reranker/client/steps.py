"""What a client does, one step at a time, whoever takes the steps.

A call is a generator: it yields a `Send` or a `Pause` and gets back what came of it. `KaLMClient`
and `AsyncKaLMClient` take the same steps, one by blocking and one by awaiting, so that requests,
retries and answers are written once, and can be tested without a socket.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as it goes over the wire.

    Attributes:
        method: "GET", "POST" or "DELETE".
        path: From the server's root, quoted, with its query.
        body: JSON; None for none.
        repeatable: Whether it may be sent again after a connection broke, when the server may have
            done it already.
    """

    method: str
    path: str
    body: bytes | None = None
    repeatable: bool = True

    def __str__(self) -> str:
        return f"{self.method} {self.path.partition('?')[0]}"


@dataclass(frozen=True, slots=True)
class Send:
    """Send this.

    Attributes:
        call: The request.
        request_id: Its name in the server's log.
        timeout_s: Seconds until it must have been answered.
    """

    call: Call
    request_id: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered, whatever its status.

    Attributes:
        status: HTTP status.
        headers: By name in lower case.
        body: Bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class NoReply:
    """Why there was no answer.

    Attributes:
        kind: "not connected": nothing was sent. "broken": the connection broke after something
            was. "late": the time was over. "unreadable": there was an answer, but not in HTTP.
        reason: In words.
    """

    kind: Literal["not connected", "broken", "late", "unreadable"]
    reason: str


Step: TypeAlias = Send | Pause
Outcome: TypeAlias = Reply | NoReply  # of a `Send`; that of a `Pause` is None
Steps: TypeAlias = Generator[Step, Outcome | None, T]
