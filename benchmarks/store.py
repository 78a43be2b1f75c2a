"""The durable store: reading, writing, opening, memory, and its share in building an index.

    python benchmarks/store.py                          # everything; needs 4 GB of disk
    python benchmarks/store.py --parts large,growth
    python benchmarks/store.py --parts building --data FOLDER --build 1000

- large: 20,000 passages of 64 slots x 640 in bf16 (1.6 GB), random; reading 100 of them from the
  system's cache, through the hot tier, and from the disk; verify, replace, delete, compact.
- growth: 10,000 and 100,000 short passages; opening, searching and memory in new processes.
- building: real texts with a real model; the shares of encoder, store and first stage.

Reads "not cached" come after the system was asked to drop the file from its cache; a virtual
machine's host may still hold it.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from report import Report, positive
from store_building import measure_building
from store_growth import measure_growth
from store_large import measure_large

import kalm_reranker

DEMO = Path(kalm_reranker.__file__).parent / "data" / "demo"
PARTS: dict[str, Callable[[argparse.Namespace, Path, Report], dict[str, Any]]] = {
    "large": measure_large,
    "growth": measure_growth,
    "building": measure_building,
}


def main(arguments: list[str] | None = None) -> None:
    """Runs the parts, each in a temporary folder of its own."""
    options = parse(arguments)
    report = Report(vars(options), options.output)
    results = {}
    for part in options.parts:
        with tempfile.TemporaryDirectory(prefix="kalm-bench-", dir=options.folder) as folder:
            results[part] = PARTS[part](options, Path(folder) / part, report)
    report.finish(results)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Returns the checked command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--parts", type=_parts, default=list(PARTS), help="some of large,growth,building"
    )
    parser.add_argument("--folder", type=Path, help="where to put stores; the temporary folder")
    parser.add_argument("--output", type=Path, help="JSON file to write the numbers to")
    large = parser.add_argument_group("large")
    large.add_argument("--large", type=positive, default=20_000, help="passages")
    large.add_argument("--slots", type=positive, default=64, help="of a passage")
    large.add_argument("--width", type=positive, default=640, help="of a slot")
    large.add_argument("--read", type=positive, default=100, help="passages read at once")
    large.add_argument("--draws", type=positive, default=50, help="times that so many are read")
    growth = parser.add_argument_group("growth")
    growth.add_argument("--sizes", type=_sizes, default=[10_000, 100_000], help="passages")
    growth.add_argument("--searches", type=positive, default=200)
    growth.add_argument("--hot-bytes", type=int, default=2**20, help="small enough to be full")
    building = parser.add_argument_group("building")
    building.add_argument("--data", type=Path, default=DEMO, help="BEIR directory")
    building.add_argument("--build", type=positive, default=500, help="passages")
    building.add_argument("--model", default="pico", help="name, directory or hub id")
    return parser.parse_args(arguments)


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(PARTS)}")
    return parts


def _sizes(text: str) -> list[int]:
    return sorted({positive(part) for part in text.split(",")})


if __name__ == "__main__":
    main()
