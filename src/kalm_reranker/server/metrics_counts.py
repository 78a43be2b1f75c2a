"""What a service counts, as Prometheus sees it: read when a scrape comes, never before."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

# Name in `Answering.counts()` -> name of the metric without `_total`, what it is.
COUNTERS: dict[str, tuple[str, str]] = {
    "requests": ("kalm_engine_requests", "Calls that were given to the engine."),
    "documents": ("kalm_engine_documents", "Documents of those calls."),
    "cancelled_flows": (
        "kalm_engine_cancelled",
        "Calls whose deadline passed or whose client left before they were done.",
    ),
    "encode_tokens": ("kalm_encoded_tokens", "Tokens that the encoder read."),
    "score_tokens": ("kalm_scored_tokens", "Tokens that the decoder read."),
    "queries": ("kalm_queries", "Prompts that were built."),
    "queries_truncated": ("kalm_queries_truncated", "Queries that were cut at their limit."),
    "passages_encoded": ("kalm_passages_encoded", "Passages that went through the encoder."),
    "passages_truncated": ("kalm_passages_truncated", "Passages that were cut at their limit."),
    "passages_split": ("kalm_passages_split", "Passages that were encoded as several windows."),
    "windows_encoded": ("kalm_windows_encoded", "The windows of those."),
    "passages_reused": (
        "kalm_passages_reused",
        "Passages whose states were there already and that were not encoded.",
    ),
    "pairs_scored": ("kalm_pairs_scored", "(query, passage) pairs that were scored."),
    "compiled_in_requests": (
        "kalm_compiled_in_requests",
        "Times that a request waited for the compiler: shapes that the warm-up left out.",
    ),
    "batches_split": (
        "kalm_batches_split",
        "Batches that did not fit into memory and were made smaller.",
    ),
    "prefix_mismatches": ("kalm_prefix_mismatches", "Prompts that the prefix cache cannot serve."),
    "pairs_outside_calibration": (
        "kalm_pairs_outside_calibration",
        "Pairs scored at another ratio or instruction than the calibration was fitted at.",
    ),
}
GAUGES: dict[str, tuple[str, str]] = {
    "index_passages": ("kalm_index_passages", "Passages in the index."),
}
# The histograms of `ServerMetrics` say more of these.
MEASURED_ELSEWHERE = frozenset({"steps", "step_seconds", "queue_seconds"})
# Prefix in `counts()` -> value of the label `cache`; all caches share the metrics below.
CACHES = {"text_cache": "text", "hot_tier": "stored", "prefix_cache": "prefix"}
CACHE_COUNTERS = {
    "hits": ("kalm_cache_hits", "Lookups that found something."),
    "misses": ("kalm_cache_misses", "Lookups that did not."),
    "evictions": ("kalm_cache_evictions", "Items dropped to make room."),
}
CACHE_GAUGES = {
    "bytes": ("kalm_cache_bytes", "Bytes that are held."),
    "budget_bytes": ("kalm_cache_budget_bytes", "Most bytes that may be held."),
    "items": ("kalm_cache_items", "Items that are held."),
}


class CountsCollector(Collector):
    """Turns running totals into metrics.

    Args:
        read: Returns what `Answering.counts` returns; nothing while there is no service. What it
            leaves out is left out here too: a made-up 0 would look like a measurement.
    """

    def __init__(self, read: Callable[[], Mapping[str, Any]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yields a metric for each total that has a name here."""
        counts = self._read()
        for key, (name, meaning) in COUNTERS.items():
            if counts.get(key) is not None:
                yield CounterMetricFamily(name, meaning, value=counts[key])
        for key, (name, meaning) in GAUGES.items():
            if counts.get(key) is not None:
                yield GaugeMetricFamily(name, meaning, value=counts[key])
        for field, (name, meaning) in CACHE_COUNTERS.items():
            yield from _by_cache(
                CounterMetricFamily(name, meaning, labels=["cache"]), counts, field
            )
        for field, (name, meaning) in CACHE_GAUGES.items():
            yield from _by_cache(GaugeMetricFamily(name, meaning, labels=["cache"]), counts, field)


def known_counts() -> set[str]:
    """Returns every name that becomes a metric."""
    fields = [*CACHE_COUNTERS, *CACHE_GAUGES]
    return {*COUNTERS, *GAUGES, *(f"{prefix}_{field}" for prefix in CACHES for field in fields)}


def _by_cache(
    family: CounterMetricFamily | GaugeMetricFamily, counts: Mapping[str, Any], field: str
) -> Iterator[Metric]:
    for prefix, cache in CACHES.items():
        value = counts.get(f"{prefix}_{field}")
        if value is not None:
            family.add_metric([cache], value)
    if family.samples:
        yield family
