"""How loads are shown: one to a row."""

from collections.abc import Mapping
from typing import Any

COLUMNS = (
    *("requests", "requests/s", "p50 ms", "p95 ms", "p99 ms"),
    *("server CPU ms", "server cores", "client cores", "peak MB"),
)


def table(rows: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows of summaries by name."""
    return ["", *COLUMNS], [[name, *_cells(summary)] for name, summary in rows.items()]


def _cells(summary: Mapping[str, Any]) -> list[str]:
    return [
        f"{summary['requests']:,}",
        f"{summary['requests_per_s']:.1f}",
        *(f"{summary[f'p{percent}_ms']:.1f}" for percent in (50, 95, 99)),
        f"{summary['server_cpu_ms']:.1f}",
        f"{summary['server_cores']:.2f}",
        f"{summary['client_cores']:.2f}",
        f"{summary['server_peak_mb']:,.0f}",
    ]
