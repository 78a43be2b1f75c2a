"""What becomes of more requests than a server may hold."""

from collections.abc import Sequence
from typing import Any

from report import percentile
from serving_client import get
from serving_load import offer
from serving_server import serving
from serving_texts import Texts


def overload(
    arguments: Sequence[str], texts: Texts, *, pending: int, clients: int, seconds: float
) -> dict[str, Any]:
    """Offers a server with a short queue more than it may hold.

    Args:
        arguments: Further ones of `kalm serve`.
        texts: What is asked.
        pending: The server's limit on requests.
        clients: How many ask at once; those that are refused ask again at once.
        seconds: How long.
    """
    with serving([*arguments, "--max-pending-requests", str(pending)]) as server:
        offer(server, texts.small, clients=1, seconds=min(1.0, seconds))  # past its first requests
        within = offer(server, texts.small, clients=pending, seconds=seconds)
        above = offer(server, texts.small, clients=clients, seconds=seconds)
        refused = above.with_status(429)
        healthy = server.ask(get("/health/ready")).status == 200
        after = offer(server, texts.small, clients=1, seconds=min(1.0, seconds))
    answers = [exchange.answer for exchange in refused if exchange.answer is not None]
    waits = sorted({answer.headers.get("retry-after", "none") for answer in answers})
    return {
        "pending": pending,
        "clients": clients,
        "within": within.summary() | {"statuses": within.statuses},
        "above": above.summary() | {"statuses": above.statuses},
        "refused": len(refused),
        "refused_p50_ms": _percentile_ms([exchange.seconds for exchange in refused], 50),
        "refused_p99_ms": _percentile_ms([exchange.seconds for exchange in refused], 99),
        "retry_after": waits,
        "healthy_afterwards": healthy and after.statuses.keys() == {"200"},
    }


def _percentile_ms(seconds: list[float], percent: int) -> float | None:
    return 1e3 * percentile(seconds, percent) if seconds else None
