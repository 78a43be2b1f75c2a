"""Peak memory of one path, measured in a process that does nothing else.

In the benchmark's own process every model is loaded at once, and memory that was freed is not
given back; no number from there would be one path's. Here the path's ways run from the smallest to
the largest, and after each the process's peak so far is read, which is that way's.

    python -m kalm_reranker.bench.peak_memory < task.json
"""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kalm_reranker.bench.report import ENCODED, MemoryPeak, Way
from kalm_reranker.bench.settings import BenchSettings
from kalm_reranker.bench.setup import Setup


def peaks_of_path(setup: Setup, path: str, dtype: str, count: int) -> list[MemoryPeak]:
    """Returns the peak of each way of a path, measured in a new process.

    Args:
        setup: What is measured; longest passages, the model's own ratio.
        path: Which path.
        dtype: The official path is measured in one dtype at a time; its name.
        count: Candidates that are scored.

    Returns:
        Peaks; an empty list where the process failed (out of memory, most likely).
    """
    task = {
        "settings": asdict(setup.settings),
        "checkpoint": str(setup.checkpoint.directory),
        "path": path,
        "dtype": dtype,
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
        return []
    rows = json.loads(done.stdout.splitlines()[-1])
    return [MemoryPeak(**row | {"way": Way(**row["way"])}) for row in rows]


def main() -> None:
    """Reads a task from stdin and writes the peaks to stdout."""
    from kalm_reranker.bench.scorers import load_scorers  # here: a caller needs none of it

    task: dict[str, Any] = json.load(sys.stdin)
    count = task["count"]
    settings = BenchSettings(**task["settings"] | {"candidates": count})
    setup = Setup.of(settings, Path(task["checkpoint"]))
    work = setup.workload(setup.documents(setup.max_length), setup.max_length, setup.ratio)
    scorers = load_scorers(setup, [task["path"]], lambda line: None, dtypes=[task["dtype"]])
    # Scoring given states takes part of what encoding and scoring takes.
    scorers.sort(key=lambda scorer: scorer.way.passages == ENCODED)
    rows = []
    for scorer in scorers:
        scorer.score(work, count)
        peak = MemoryPeak(
            way=scorer.way,
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
