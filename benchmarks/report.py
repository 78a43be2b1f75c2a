"""How a benchmark tells what it found: tables, a last line of JSON, and progress on stderr."""

import json
import os
import statistics
import sys
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from machine import Machine, describe, this_machine
from rich.console import Console
from rich.table import Table


def tell(line: str) -> None:
    """Writes a line of progress."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Report:
    """Takes tables and numbers, and prints them with the machine they were measured on.

    Args:
        settings: What was asked for, as the command line gave it.
        output: A JSON file to write the numbers to as well; None for none.
    """

    def __init__(self, settings: Mapping[str, Any], output: Path | None) -> None:
        self._settings = {name: value for name, value in settings.items() if name != "output"}
        self._output = output
        self._machine: Machine = this_machine()
        self._load = _load_average()
        self._console = Console()
        if not self._console.is_terminal:  # a file or a pipe has no width that a table should fit
            self._console = Console(width=200)
        self._console.print(describe(self._machine), highlight=False)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Prints a table, its first column to the left and the others to the right."""
        self._console.print(f"\n{title}", highlight=False)
        table = Table()
        for index, name in enumerate(header):
            table.add_column(name, justify="right" if index else "left")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def finish(self, results: Mapping[str, Any]) -> None:
        """Prints the line of JSON, and writes it to the output file if there is one."""
        document = {
            "machine": self._machine,
            "load_average_before": self._load,
            "load_average_after": _load_average(),
            "settings": self._settings,
            **results,
        }
        line = json.dumps(document, default=str)
        if self._output is not None:
            self._output.parent.mkdir(parents=True, exist_ok=True)
            self._output.write_text(line + "\n", encoding="utf-8")
        sys.stdout.write(line + "\n")


def percentile(values: Sequence[float], percent: int) -> float:
    """Returns the smallest value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def spread_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Returns median and 95th percentile in milliseconds."""
    return {
        "p50_ms": 1e3 * statistics.median(seconds),
        "p95_ms": 1e3 * percentile(seconds, 95),
    }


def positive(text: str) -> int:
    """Reads a whole number above 0 from the command line."""
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"must be at least 1; got {value}")
    return value


def ratios(text: str) -> list[int]:
    """Reads compression ratios such as 2,4,8 from the command line."""
    return sorted({positive(part) for part in text.split(",")})


def _load_average() -> float | None:
    """Processes that wanted to run in the last minute: above 0 before the start, others did."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
