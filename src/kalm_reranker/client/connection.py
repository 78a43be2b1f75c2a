"""Where a client's server is, and how long to try: checked once, when the client is made."""

import ipaddress
import math
import os
from dataclasses import dataclass, field

import httpx

from kalm_reranker.errors import InvalidOptionError, shown
from kalm_reranker.options import whole_number

API_KEY_VARIABLE = "KALM_API_KEY"

_LARGEST_PORT = 65_535


@dataclass(frozen=True, kw_only=True)
class Connection:
    """What every request of a client shares.

    Args:
        base_url: The server's root, without a slash at its end.
        api_key: Sent as a bearer token; none, if None.
        timeout_s: Seconds a request may take, tries and pauses between them included.
        max_retries: Tries after the first.
    """

    base_url: str
    api_key: str | None = field(repr=False)
    timeout_s: float
    max_retries: int

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        host = httpx.URL(self.base_url).host
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")


def checked_connection(
    base_url: str, api_key: str | None, timeout_s: float, max_retries: int
) -> Connection:
    """Returns a connection's settings; the API key comes from the environment, if None.

    Raises:
        InvalidOptionError: One of them makes no sense.
    """
    if api_key is None:
        api_key = os.environ.get(API_KEY_VARIABLE) or None
    if api_key is not None:
        _check_api_key(api_key)
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise _bad_seconds(timeout_s)
    if not math.isfinite(timeout_s) or timeout_s <= 0:
        raise _bad_seconds(timeout_s)
    retries = whole_number(max_retries)
    if retries is None or retries < 0:
        raise InvalidOptionError(
            f"max_retries must be a whole number, 0 or more; got {max_retries!r}."
        )
    return Connection(
        base_url=_checked_url(base_url),
        api_key=api_key,
        timeout_s=float(timeout_s),
        max_retries=retries,
    )


def _checked_url(base_url: str) -> str:
    allowed = "base_url must be the address of a server, such as http://127.0.0.1:8000"
    if not isinstance(base_url, str):
        raise InvalidOptionError(f"{allowed}; got {shown(base_url)}.")
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise InvalidOptionError(f"{allowed}; got {shown(base_url)}: {error}.") from error
    if url.userinfo:
        # Not shown: it holds a password.
        raise InvalidOptionError(
            "base_url must hold no user and no password.", hint="Give the key as api_key."
        )
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > _LARGEST_PORT:
        raise InvalidOptionError(f"{allowed}; got {shown(base_url)}.")
    if url.query or url.fragment:
        raise InvalidOptionError(f"{allowed}, without ? and #; got {shown(base_url)}.")
    return str(url).rstrip("/")


def _check_api_key(api_key: str) -> None:
    if (
        not isinstance(api_key, str)
        or not api_key
        or not api_key.isascii()
        or not api_key.isprintable()
        or " " in api_key
    ):
        # The key itself is never shown.
        raise InvalidOptionError(
            "api_key must be one word of printable ASCII characters.",
            hint="A line end read from a file is no part of a key: strip() it.",
        )


def _bad_seconds(value: object) -> InvalidOptionError:
    return InvalidOptionError(f"timeout_s must be a positive number of seconds; got {value!r}.")
