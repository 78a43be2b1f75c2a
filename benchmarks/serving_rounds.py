"""Loads that take turns on one server, so that other work on the machine meets all of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from serving_load import Load

Summary: TypeAlias = dict[str, float]
_BETWEEN_S = 0.5  # what was cancelled at the end of a load may run for one more batch


def in_turns(variants: Mapping[str, Callable[[], Load]], rounds: int) -> dict[str, Summary]:
    """Returns the summary of each variant over all of its rounds.

    Raises:
        RuntimeError: A request did not succeed.
    """
    loads: dict[str, list[Load]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            load = run()
            if load.statuses.keys() != {"200"}:
                raise RuntimeError(f"{name}: statuses {load.statuses}")
            loads[name].append(load)
            time.sleep(_BETWEEN_S)
    return {name: pooled(each).summary() for name, each in loads.items()}


def pooled(rounds: Sequence[Load]) -> Load:
    """Returns several rounds as one."""
    return Load(
        wall_s=sum(load.wall_s for load in rounds),
        exchanges=[exchange for load in rounds for exchange in load.exchanges],
        server_cpu_s=sum(load.server_cpu_s for load in rounds),
        client_cpu_s=sum(load.client_cpu_s for load in rounds),
        server_rss_bytes=rounds[-1].server_rss_bytes,
        server_peak_bytes=max(load.server_peak_bytes for load in rounds),
    )
