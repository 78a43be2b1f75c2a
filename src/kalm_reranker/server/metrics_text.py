"""A registry as the text that Prometheus reads."""

from collections.abc import Iterator

from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

PLAIN_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_text(registry: Collector, accept: str) -> tuple[bytes, str]:
    """Returns the metrics and their content type.

    Args:
        registry: What to write.
        accept: The request's Accept header: OpenMetrics if it asks for that, else plain text.
    """
    registry = _WithoutTimesOfCreation(registry)
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):
        # The library compares versions without looking: anybody may send one that is no number.
        return generate_latest(registry), PLAIN_TYPE
    return encode(registry), content_type


class _WithoutTimesOfCreation(Collector):
    """Leaves out `_created`, a third of all lines, which tells when a label was first seen.

    The library's own switch is global, and not ours to turn.
    """

    def __init__(self, registry: Collector) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [
                sample for sample in metric.samples if not sample.name.endswith("_created")
            ]
            yield metric
