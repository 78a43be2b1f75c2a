"""What a server says besides the scores: texts it cut, and warnings."""

import logging
from collections.abc import Iterable, Sequence

logger = logging.getLogger(__name__)

_MOST_NAMED = 10


def distinct(warnings: Iterable[str]) -> tuple[str, ...]:
    """Returns each warning once, in order."""
    return tuple(dict.fromkeys(warnings))


def log_remarks(call: str, truncated: Sequence[int], warnings: Sequence[str]) -> None:
    """Logs what the caller of a call that returns scores alone would otherwise not learn.

    Args:
        call: Its name.
        truncated: Indices of what was cut.
        warnings: In words.
    """
    if truncated:
        named = ", ".join(map(str, truncated[:_MOST_NAMED]))
        more = ", ..." if len(truncated) > _MOST_NAMED else ""
        logger.warning(
            "%s: of %d documents the server did not read the end (%s%s)",
            call,
            len(truncated),
            named,
            more,
        )
    for warning in warnings:
        logger.warning("%s: the server says: %s", call, warning)
