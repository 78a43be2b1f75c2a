"""Whether to ask again, and when. Pure functions."""

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

# Too busy, and not ready: the server did nothing. 502 is how a proxy says "not connected", which
# happens while a server restarts.
_PASSING_STATUS = (429, 502, 503)

_FIRST_BACKOFF_S = 0.5  # doubled with each try
_LONGEST_BACKOFF_S = 8.0
# Of those who were told the same time, some come a little later.
_SPREAD = 0.1


def is_passing(status: int) -> bool:
    """Returns whether a refusal with this HTTP status may be gone at the next try."""
    return status in _PASSING_STATUS


def pause_s(tries: int, retry_after_s: float | None, jitter: float) -> float:
    """Returns the seconds to wait before the next try.

    Args:
        tries: How many there were, at least 1.
        retry_after_s: What the server asked for; None where it asked for nothing.
        jitter: A random number from 0 to 1.

    Returns:
        At least what the server asked for. Without a wish, anything up to a limit that doubles
        with each try: clients that were turned away together do not come back together.
    """
    if retry_after_s is not None:
        return retry_after_s * (1 + _SPREAD * jitter)
    doublings = min(tries - 1, 10)  # of more, the power would overflow
    return jitter * min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0**doublings)


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds that a Retry-After header asks for; None where it says nothing.

    It holds seconds or a date. A date counts from the server's own clock, if the answer has a Date.

    Args:
        headers: By name in lower case.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
        return float(value)
    until = _unix_time(value)
    if until is None:
        return None
    now = _unix_time(headers.get("date", ""))
    return max(0.0, until - (time.time() if now is None else now))


def _unix_time(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
