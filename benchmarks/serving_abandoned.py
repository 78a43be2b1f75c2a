"""Large requests whose clients leave: what they hold, and how soon the server is free of them."""

from collections.abc import Sequence
from typing import Any

from serving_client import get
from serving_load import offer, send_all
from serving_server import Server, serving
from serving_texts import Texts


def abandoned(
    arguments: Sequence[str], texts: Texts, *, clients: int, seconds: float
) -> dict[str, Any]:
    """Has clients send large requests and leave before they are answered.

    Args:
        arguments: Of `kalm serve`.
        texts: What is asked.
        clients: How many send at once.
        seconds: When they leave.
    """
    prepared = [texts.large() for _ in range(clients)]
    with serving(arguments) as server:
        before = offer(server, texts.small, clients=1, seconds=min(2.0, seconds))
        load = offer(
            server,
            lambda: prepared.pop() if prepared else texts.large(),
            clients=clients,
            seconds=seconds,
            leave=True,
        )
        first = send_all(server, [texts.small()])
        pending = _metric(server, "kalm_pending_requests")
        after = offer(server, texts.small, clients=1, seconds=min(2.0, seconds))
    return {
        "clients": clients,
        "answered": load.statuses,
        "before": before.summary(),
        "after": after.summary(),
        "held_peak_mb": load.server_peak_bytes / 1e6,
        "first_ms": 1e3 * first.exchanges[0].seconds,
        "pending_afterwards": pending,
    }


def _metric(server: Server, name: str) -> float:
    for line in server.ask(get("/metrics")).body.decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise RuntimeError(f"/metrics has no {name}")
