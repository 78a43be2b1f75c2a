"""Peak memory of one path, measured in a process that does nothing else.

In the benchmark's own process every model is loaded at once, and memory that was freed is not
given back; no number from there would be one path's. Here the path's ways run from the smallest to
the largest, and after each the process's peak so far is read, which is that way's.

    python -m kalm_reranker.bench.peak_memory < task.json
"""

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kalm_reranker.bench.report import CACHED, ENCODED, MemoryPeak, Way
from kalm_reranker.bench.settings import BenchSettings
from kalm_reranker.bench.setup import Setup

logger = logging.getLogger(__name__)


def memory_groups(ways: Sequence[Way]) -> list[list[Way]]:
    """Returns ways that one process can measure one after another.

    Those of a path share its model, and scoring given states takes part of what encoding and
    scoring takes. Kept prefixes are another matter, and would count in all that follows.
    """
    groups: dict[tuple[str, str, bool], list[Way]] = {}
    for way in sorted(ways, key=lambda way: way.passages == ENCODED):
        groups.setdefault((way.path, way.dtype, way.passages == CACHED), []).append(way)
    return list(groups.values())


def peaks_of(setup: Setup, group: Sequence[Way], count: int) -> list[MemoryPeak]:
    """Returns the peak of each way of a group, measured in a new process.

    Args:
        setup: What is measured; longest passages, the model's own ratio.
        group: One of `memory_groups`.
        count: Candidates that are scored.

    Returns:
        Peaks; an empty list where the process failed (out of memory, most likely).
    """
    task = {
        "settings": asdict(setup.settings),
        "checkpoint": str(setup.checkpoint.directory),
        "group": [asdict(way) for way in group],
        "count": count,
    }
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        logger.info("measuring memory failed: %s", done.stderr.strip())
        return []
    rows = json.loads(done.stdout.splitlines()[-1])
    return [MemoryPeak(**row | {"way": Way(**row["way"])}) for row in rows]


def main() -> None:
    """Reads a task from stdin and writes the peaks to stdout."""
    from kalm_reranker.bench.scorers import load_scorers  # here: a caller needs none of it

    task: dict[str, Any] = json.load(sys.stdin)
    group = [Way(**way) for way in task["group"]]
    count = task["count"]
    settings = BenchSettings(**task["settings"] | {"candidates": count})
    setup = Setup.of(settings, Path(task["checkpoint"]))
    work = setup.workload(setup.documents(setup.max_length), setup.max_length, setup.ratio)
    scorers = {scorer.way: scorer for scorer in load_scorers(setup, group)}
    rows = []
    for way in group:
        scorers[way].score(work, count)
        if way.passages == CACHED:  # the first time fills the cache, the second reads it
            scorers[way].score(work, count)
        peak = MemoryPeak(
            way=way,
            length=work.length,
            ratio=work.ratio,
            candidates=count,
            host_bytes=_host_peak_bytes(),
            device_bytes=_device_peak_bytes(setup),
        )
        rows.append(asdict(peak))
    sys.stdout.write(json.dumps(rows) + "\n")


def _host_peak_bytes() -> int | None:
    """The most main memory this process had resident."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux; getrusage there also counts the process this one was forked from
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _device_peak_bytes(setup: Setup) -> int | None:
    if setup.device.type != "cuda":
        return None
    import torch

    return torch.cuda.max_memory_allocated(setup.device)


if __name__ == "__main__":
    main()
