"""What starting costs: importing the package, `kalm --help`, and a first `kalm rerank`.

    python benchmarks/startup.py [--repeat 5]

Every measurement is a new process, timed from outside; the table shows the median and the best.
The importing process also reports what `import kalm_reranker` took on top of starting Python.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import describe, this_machine
from rich.console import Console
from rich.table import Table

KALM = str(Path(sys.executable).with_name("kalm"))
QUERY = "What is the capital of China?"
PASSAGES = [
    f"Passage {i}: the capital of country number {i} is city number {i}." for i in range(20)
]
IMPORT = (
    "import time; t = time.perf_counter(); import kalm_reranker; print(time.perf_counter() - t)"
)


def main() -> None:
    """Runs each command several times and prints a table, then a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import torch'": [sys.executable, "-c", "import torch"],
        "kalm --help": [KALM, "--help"],
        "kalm models": [KALM, "models"],
        "kalm rerank, pico, 20 short passages": [KALM, "rerank", QUERY, *PASSAGES, "--json"],
    }
    seconds = {name: [timed(command) for _ in range(repeat)] for name, command in commands.items()}
    seconds["import kalm_reranker (inside)"] = [
        float(subprocess.run([sys.executable, "-c", IMPORT], capture_output=True).stdout)
        for _ in range(repeat)
    ]
    machine = this_machine()
    console = Console()
    console.print(describe(machine), highlight=False)
    table = Table("command", "median", "best")
    for name, values in seconds.items():
        table.add_row(name, f"{statistics.median(values):.3f} s", f"{min(values):.3f} s")
    console.print(table)
    print(json.dumps({"machine": machine, "seconds": seconds}))


def timed(command: list[str]) -> float:
    """Returns the seconds a command took; it must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
