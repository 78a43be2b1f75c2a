"""One runtime in a process of its own; `cpu_runtimes.py` starts it.

    python benchmarks/runtime_worker.py VARIANT FOLDER

Builds the variant and runs query 0, then answers each query number it reads from stdin. Every
answer is a line of JSON on stdout: seconds, CPU seconds of all threads, margins; at the end of
stdin a last one with its memory.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import psutil  # type: ignore[import-untyped]
from runtime_inputs import Step
from runtime_variants import VARIANTS


def main() -> None:
    """Builds, then answers until stdin ends."""
    variant, folder = VARIANTS[sys.argv[1]], Path(sys.argv[2])
    out = _private_stdout()
    start = time.perf_counter()
    module, _, function = variant.builder.partition(":")
    try:
        step: Step = getattr(importlib.import_module(module), function)(folder, **variant.options)
        built = time.perf_counter()
        run(step, 0)
    except Exception as error:  # a runtime that lacks something: told, not fatal to the others
        tell_parent(out, {"failed": f"{type(error).__name__}: {error}"})
        return
    tell_parent(out, {"build_s": built - start, "first_s": time.perf_counter() - built})
    for line in sys.stdin:
        tell_parent(out, run(step, int(line)))
    memory = psutil.Process().memory_info().rss
    tell_parent(out, {"resident_bytes": memory, "uses_torch": "torch" in sys.modules})


def run(step: Step, query: int) -> dict[str, Any]:
    """Runs one query."""
    start, start_cpu = time.perf_counter(), time.process_time()
    logits = step(query)
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    margins = (logits[:, 0].astype(float) - logits[:, 1].astype(float)).tolist()
    return {"seconds": seconds, "cpu_s": cpu_s, "margins": margins}


def tell_parent(out: TextIO, answer: dict[str, Any]) -> None:
    """Writes a line of JSON."""
    out.write(json.dumps(answer) + "\n")
    out.flush()


def _private_stdout() -> TextIO:
    """Returns stdout and leaves stderr in its place: compilers and runtimes print to it."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


if __name__ == "__main__":
    main()
