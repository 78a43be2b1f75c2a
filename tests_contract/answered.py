"""Which paths a server has answered, from its own metrics."""

import re
from collections import Counter

from tests_contract import plain
from tests_contract.serving import Server

_ANSWERED = re.compile(r'^kalm_requests_total\{endpoint="([^"]*)",status="200"\} (\d+)', re.M)


def answered_paths(server: Server) -> Counter[str]:
    """Returns how many requests were answered with 200 by path, but for `/metrics` itself."""
    status, text = plain.request(f"{server.url}/metrics", server.key)
    assert status == 200, text
    counts = {path: int(count) for path, count in _ANSWERED.findall(text)}
    counts.pop("/metrics", None)
    return Counter(counts)
