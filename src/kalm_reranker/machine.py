"""What a benchmark ran on: without it a number means nothing. Importing this costs no torch."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

from kalm_reranker import __version__

# Instruction sets that decide how fast this package is on a CPU.
_CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


class Machine(TypedDict):
    """Hardware and versions, as written into result files."""

    cpu: str
    cpu_features: list[str]
    cores: int
    torch_threads: int
    memory_gb: float
    gpu: str | None
    system: str
    python: str
    torch: str
    numpy: str
    transformers: str | None
    kalm_reranker: str


def this_machine() -> Machine:
    """Returns the machine this process runs on; `cores` are those it may use."""
    import numpy
    import torch

    cpu_info = _proc_cpuinfo()
    flags = cpu_info.get("flags", "").split()
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return Machine(
        cpu=cpu_info.get("model name") or platform.processor() or platform.machine(),
        cpu_features=[feature for feature in _CPU_FEATURES if feature in flags],
        cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
        torch_threads=torch.get_num_threads(),
        memory_gb=round(memory_bytes() / 1e9, 1),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=numpy.__version__,
        transformers=_version("transformers"),
        kalm_reranker=__version__,
    )


def describe(machine: Machine) -> str:
    """Returns one line for the head of a table."""
    features = f" ({', '.join(machine['cpu_features'])})" if machine["cpu_features"] else ""
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return (
        f"{machine['cpu']}{features}, {machine['cores']} cores, {machine['memory_gb']} GB{gpu}; "
        f"torch {machine['torch']} with {machine['torch_threads']} "
        f"thread{'s' * (machine['torch_threads'] != 1)}, "
        f"kalm-reranker {machine['kalm_reranker']}"
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _proc_cpuinfo() -> dict[str, str]:
    """Returns the fields of the first processor in /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    fields = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in fields}


def memory_bytes() -> int:
    """Returns the main memory of the machine; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
