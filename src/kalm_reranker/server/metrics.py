"""The numbers of one server that Prometheus collects: requests, waiting, work, memory.

Nothing is global: each app has a registry of its own. Labels have few values, none of which a
request can choose.
"""

import platform
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from kalm_reranker import __version__
from kalm_reranker.server.answering import Answering
from kalm_reranker.server.metrics_counts import CountsCollector
from kalm_reranker.server.metrics_text import metrics_text
from kalm_reranker.server.settings import Limits

OTHER: Final = "other"
STATES = ("loading", "ready", "draining", "stopped", "failed")
# Why a request got no answer, where its status tells.
REASON_OF_STATUS = {
    401: "unauthorized",
    403: "forbidden",
    408: "slow_body",
    413: "too_large",
    415: "unsupported_type",
    429: "queue_full",
    499: "disconnected",
    503: "not_ready",
    504: "deadline",
}
REASONS = (*REASON_OF_STATUS.values(), "store_busy", OTHER)
# Asked every few seconds by machines, and answered at once: they would hide the times of the rest.
UNTIMED = frozenset({"/health", "/health/live", "/health/ready", "/ping", "/metrics"})
# From a hot answer of two milliseconds to the default time limit of five minutes.
_REQUEST_SECONDS = (
    *(0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1, 1.5, 2, 3, 5, 7.5, 10, 20, 30, 60, 120, 300),
)
_WAIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
_STEP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_MODEL_LABELS = (
    *("name", "fingerprint", "dtype", "device", "engine", "quantization"),
    *("compression_ratio", "special_tokens", "calibrated"),
)


class ServerMetrics:
    """Counts what a server does.

    `queue_waited` and `step_took` may be called from any thread, the rest from one event loop.

    Args:
        limits: Shown beside what is measured against them.
    """

    def __init__(self, limits: Limits) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "kalm_requests",
            "Requests that were answered, and with which status; 499: the client left.",
            ["endpoint", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "kalm_request_duration_seconds",
            "Time from a request's head to the end of its answer, whatever its status.",
            ["endpoint"],
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self._rejected = Counter(
            "kalm_rejected",
            "Requests that got no result, by reason.",
            ["reason"],
            registry=registry,
        )
        for reason in REASONS:
            self._rejected.labels(reason)  # 0 from the start: `rate` misses a first appearance
        self._queue_seconds = Histogram(
            "kalm_queue_time_seconds",
            "Time that a call waited for its first batch.",
            buckets=_WAIT_SECONDS,
            registry=registry,
        )
        self._step_seconds = Histogram(
            "kalm_step_time_seconds",
            "Time that one batch of the engine took.",
            buckets=_STEP_SECONDS,
            registry=registry,
        )
        self._pending: Callable[[], tuple[int, int]] = lambda: (0, 0)
        pending = self._gauge("kalm_pending_requests", "Requests accepted and not answered yet.")
        pending.set_function(lambda: self._pending()[0])
        held = self._gauge("kalm_pending_bytes", "Bytes of the bodies of those.")
        held.set_function(lambda: self._pending()[1])
        for name, most in (
            ("kalm_pending_requests_limit", limits.max_pending_requests),
            ("kalm_pending_bytes_limit", limits.max_pending_bytes),
        ):
            self._gauge(name, "Where 429 begins.").set(most)
        self._state: Callable[[], str] = lambda: "loading"
        states = self._gauge("kalm_server_state", "1 for the state that the server is in.", "state")
        for state in STATES:
            states.labels(state).set_function(partial(self._is_in, state))
        self._gauge("kalm_build_info", "What runs.", "version", "python").labels(
            __version__, platform.python_version()
        ).set(1)
        self._model_info = self._gauge("kalm_model_info", "The model.", *_MODEL_LABELS)
        self._counts: Callable[[], Mapping[str, Any]] = dict
        registry.register(CountsCollector(lambda: self._counts()))
        ProcessCollector(registry=registry)

    def watch_pending(self, read: Callable[[], tuple[int, int]]) -> None:
        """Takes the function that returns how many requests and bytes are pending."""
        self._pending = read

    def watch_state(self, read: Callable[[], str]) -> None:
        """Takes the function that returns which of `STATES` the server is in."""
        self._state = read

    def watch_service(self, service: Answering) -> None:
        """Takes the service, once its model is loaded; its counts are read at each scrape."""
        facts = service.facts()
        self._model_info.labels(*(str(getattr(facts, name)) for name in _MODEL_LABELS)).set(1)
        self._counts = service.counts

    def request_finished(
        self, endpoint: str, status: int, seconds: float, *, reason: str | None = None
    ) -> None:
        """Counts a request.

        Args:
            endpoint: What `route_template` returned; never a path as it was requested.
            status: As it was sent; 499 if the client left before.
            seconds: Since its head was there.
            reason: One of `REASONS`, where the status alone does not tell why there is no result.
        """
        self._requests.labels(endpoint, str(status)).inc()
        if endpoint not in UNTIMED:
            self._request_seconds.labels(endpoint).observe(seconds)
        if reason is None:
            reason = REASON_OF_STATUS.get(status)
        if reason is not None and endpoint not in UNTIMED:  # a probe's 503 refuses nobody's work
            self._rejected.labels(reason if reason in REASONS else OTHER).inc()

    def queue_waited(self, seconds: float) -> None:
        """Counts the time that a call waited for its first batch."""
        self._queue_seconds.observe(seconds)

    def step_took(self, seconds: float) -> None:
        """Counts the time that a batch took."""
        self._step_seconds.observe(seconds)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Returns all numbers as `metrics_text` does."""
        return metrics_text(self._registry, accept)

    def _is_in(self, state: str) -> float:
        return float(self._state() == state)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self._registry)


def route_template(scope: Mapping[str, Any]) -> str:
    """Returns the path of the route that a request took, as it was declared; "other" if none.

    Args:
        scope: The ASGI scope, after routing.
    """
    route = scope.get("route")
    # FastAPI's routes have one without converters: {id}, where `path` says {id:path}.
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    return path if isinstance(path, str) else OTHER
