"""Small requests: many clients against one, and beside large requests."""

from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any

from serving_client import Request
from serving_load import Load, offer, send_all
from serving_rounds import in_turns
from serving_server import Server
from serving_texts import Texts

DISTINCT = 100  # requests that are repeated


def new_documents(
    server: Server, texts: Texts, *, clients: int, seconds: float, rounds: int
) -> dict[str, Any]:
    """Returns what one client and many clients get whose documents are nearly all new."""
    return _one_against_many(server, texts.small, clients, seconds, rounds)


def repeated_documents(
    server: Server, texts: Texts, *, clients: int, seconds: float, rounds: int
) -> dict[str, Any]:
    """Returns the same for requests that the server has seen: nothing is encoded."""
    requests = [texts.small() for _ in range(DISTINCT)]
    again = partial(next, cycle(requests))
    send_all(server, requests, clients=clients)
    return _one_against_many(server, again, clients, seconds, rounds)


def beside_large_requests(
    server: Server, texts: Texts, *, clients: int, seconds: float, rounds: int
) -> dict[str, Any]:
    """Returns what small requests get alone, and while large ones run, one after the other."""
    # Made beforehand: making one takes milliseconds, which small ones would wait for.
    prepared = [texts.large() for _ in range(rounds * (2 + int(seconds)))]

    def large() -> Request:
        return prepared.pop() if prepared else texts.large()

    small = partial(offer, server, texts.small, clients=clients, seconds=seconds)
    found = in_turns({"alone": small, "beside large ones": partial(small, beside=large)}, rounds)
    return {"loads": found, "p99_ratio": _ratio(found, "p99_ms")}


def _one_against_many(
    server: Server, request: Callable[[], Request], clients: int, seconds: float, rounds: int
) -> dict[str, Any]:
    def send(count: int) -> Load:
        return offer(server, request, clients=count, seconds=seconds)

    variants = {"1 client": partial(send, 1), f"{clients} clients": partial(send, clients)}
    found = in_turns(variants, rounds)
    return {"loads": found, "speedup": _ratio(found, "requests_per_s")}


def _ratio(found: dict[str, dict[str, float]], key: str) -> float:
    first, second = found.values()
    return second[key] / first[key]
