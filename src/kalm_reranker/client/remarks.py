"""What a server says besides the scores: texts it cut, and warnings."""

import logging
from collections.abc import Iterable

from kalm_reranker.client.reading import Answer

logger = logging.getLogger(__name__)


def remarks_of(answer: Answer, start: int) -> tuple[str, ...]:
    """Returns the warnings of an answer.

    Args:
        answer: The answer.
        start: Where the items of its request begin in the caller's list: the server counts from
            the request's own first.
    """
    warnings = answer.object("meta").texts("warnings")
    if not start:
        return warnings
    return tuple(f"(counting from item {start:,}) {warning}" for warning in warnings)


def distinct(warnings: Iterable[str]) -> tuple[str, ...]:
    """Returns each warning once, in order."""
    return tuple(dict.fromkeys(warnings))


def log_remarks(call: str, warnings: Iterable[str]) -> None:
    """Logs what the caller of a call that returns scores alone would otherwise not learn."""
    for warning in warnings:
        logger.warning("%s: the server says: %s", call, warning)
