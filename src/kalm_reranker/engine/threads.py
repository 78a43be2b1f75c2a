"""How many threads PyTorch computes with on a CPU: as many as there are cores to run them.

PyTorch counts the machine's cores. A container may use fewer: its threads then wait for each
other's turns, and a forward pass takes many times as long.
"""

import ctypes
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

from kalm_reranker.options import check_count

_CGROUP = Path("/sys/fs/cgroup")
# What the caller says to OpenMP is what he wants.
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


_MOST_THREADS = 4_096  # PyTorch would take more, and fail where they are needed


class ChosenThreads(NamedTuple):
    """A number of threads and where it comes from, for `repr` and logs."""

    number: int
    reason: str


def choose_threads(threads: int | None) -> ChosenThreads:
    """Returns the number asked for, or PyTorch's own where there are cores for it.

    Raises:
        InvalidOptionError: It is no positive integer, or more than any machine has cores.
    """
    if threads is not None:
        return ChosenThreads(check_count(threads, "threads", largest=_MOST_THREADS), "asked for")
    current = torch.get_num_threads()
    for variable in _VARIABLES:
        if os.environ.get(variable):
            return ChosenThreads(current, f"set by {variable}")
    cores = usable_cores()
    if current <= cores:
        return ChosenThreads(current, "PyTorch's own")
    return ChosenThreads(cores, f"this process may use {cores} of {os.cpu_count()} cores")


def apply_threads(chosen: ChosenThreads) -> None:
    """Has PyTorch, and the tokenizer's own pool if it has not started, use so many threads."""
    torch.set_num_threads(chosen.number)
    # The pool starts with the first batch of texts, and counts the machine's cores as well.
    os.environ.setdefault("RAYON_NUM_THREADS", str(chosen.number))


def compute_alone() -> None:
    """Has PyTorch use no other threads for what it computes in the calling thread from now on.

    For threads that only copy and convert beside the one that runs the model. Each thread that
    computes has helpers of its own, and with more helpers than cores OpenMP lets all of them sleep
    between any two operations, those of the model too.
    """
    torch.get_num_threads()  # what PyTorch sets up in each thread would undo it later
    with suppress(OSError, AttributeError, ImportError):  # another system, another OpenMP
        library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
        ctypes.CDLL(str(library)).omp_set_num_threads(1)


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Returns how many cores this process may keep busy: its affinity, and its cgroup's quota."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _cgroup_cores(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _cgroup_cores(cgroup: Path) -> float | None:
    """Returns the quota of a container in cores; None where there is none."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()  # version 2
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text()  # version 1
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max"
        return None
