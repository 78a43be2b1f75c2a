"""Which CPU runtime runs the decoder step fastest, and at which exactness.

    python benchmarks/cpu_runtimes.py                       # Nano's shape, random weights
    python benchmarks/cpu_runtimes.py --variants "torch bfloat16;OpenVINO bfloat16" --folder FOLDER

The step that a query costs: one prompt of `--tokens` embedded tokens against `--candidates`
passages of `--slots` stored states, down to the two logits. Each runtime is a process of its own;
they take turns, a query a turn, so that other work on the machine meets all of them. A runtime
that is not installed, or cannot run the model, is skipped and named with the reason.

Of a runtime's turns the best and the median count, divided by the candidates. CPU time is that
of all threads, and says more than the clock where a machine is shared. Errors are differences of
margins from float32 in PyTorch.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import this_machine
from random_model import model_path
from report import Report, positive, tell
from runtime_problem import make_problem
from runtime_variants import REFERENCE, VARIANTS

_HERE = Path(__file__).parent
_HEADER = (
    *("ms a candidate", "best", "median", "CPU", "speed", "largest error", "mean", "MB"),
    *("start, s", "uncached"),
)


class Runtime:
    """A variant's process.

    Args:
        name: Of the variant.
        folder: The problem.
        threads: How many it may use.
    """

    def __init__(self, name: str, folder: Path, threads: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(_HERE / "runtime_worker.py"), name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=_log(folder, name),
            text=True,
            env=_environment(folder, name, threads),
        )
        self.start = self.answer()

    def answer(self) -> dict[str, Any]:
        """Waits for the next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            return {"failed": f"its process ended with {self.process.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, query: int) -> dict[str, Any]:
        """Runs one query."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{query}\n")
        self.process.stdin.flush()
        return self.answer()

    def finish(self) -> dict[str, Any]:
        """Ends the process; returns what it says of its memory."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        answer = self.answer()
        self.process.wait()
        return answer


@dataclass
class Measured:
    """What is known of one variant.

    Attributes:
        cold_s: Seconds from start to the first result with an empty compiler cache.
        warm_s: The same otherwise.
        turns: Seconds of each turn.
        cpu_turns: CPU seconds of each turn.
        margins: By query.
        memory: Of its process at the end.
    """

    cold_s: float | None = None
    warm_s: float = 0.0
    turns: list[float] = field(default_factory=list)
    cpu_turns: list[float] = field(default_factory=list)
    margins: dict[int, list[float]] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)


def main(arguments: list[str] | None = None) -> None:
    """Prepares, lets the runtimes take turns, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano-shape")
    parser.add_argument("--candidates", type=positive, default=20)
    parser.add_argument("--queries", type=positive, default=4)
    parser.add_argument("--tokens", type=positive, default=80, help="of the prompt")
    parser.add_argument("--slots", type=positive, default=128, help="of a passage")
    parser.add_argument("--ratio", type=positive, default=4)
    parser.add_argument("--rounds", type=positive, default=4, help="at least the queries")
    parser.add_argument("--threads", type=positive, default=this_machine()["cores"])
    parser.add_argument("--variants", help="names, separated by ;")
    parser.add_argument("--folder", type=Path, help="keeps models and exports for the next run")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    names = options.variants.split(";") if options.variants else list(VARIANTS)
    unknown = set(names) - VARIANTS.keys()
    if unknown:
        parser.error(f"no variant {min(unknown)!r}; there are {'; '.join(VARIANTS)}")
    names = [REFERENCE, *(name for name in names if name != REFERENCE)]
    report = Report(vars(options), options.output)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        problem = prepare(folder, options)
        skipped: dict[str, str] = {}
        measured: dict[str, Measured] = {}
        runtimes: dict[str, Runtime] = {}
        for name in names:
            try:
                measured[name], runtimes[name] = start(name, problem, options.threads)
                tell(f"{name}: first result after {measured[name].warm_s:.1f} s")
            except NotRunnableError as reason:
                skipped[name] = str(reason)
                tell(f"{name}: skipped, {reason}")
        take_turns(runtimes, measured, max(options.rounds, options.queries), options.queries)
        for name, runtime in runtimes.items():
            measured[name].memory = runtime.finish()
    show(report, measured, skipped, options)


def prepare(folder: Path, options: argparse.Namespace) -> Path:
    """Returns the problem's folder, which is made unless an earlier run left it."""
    shape = f"{options.queries}x{options.candidates}-{options.tokens}-{options.slots}"
    problem = folder / f"{Path(options.model).name}-{shape}-{options.ratio}"
    if not (problem / "ready").is_file():
        problem.mkdir(parents=True, exist_ok=True)
        make_problem(
            model_path(options.model, folder),
            problem,
            num_queries=options.queries,
            num_candidates=options.candidates,
            num_tokens=options.tokens,
            num_slots=options.slots,
            ratio=options.ratio,
        )
        (problem / "ready").touch()
    return problem


class NotRunnableError(Exception):
    """Why a variant is skipped."""


def start(name: str, folder: Path, threads: int) -> tuple[Measured, Runtime]:
    """Makes what a variant loads and starts its process.

    Raises:
        NotRunnableError: Something is not installed, or does not run this model.
    """
    variant = VARIANTS[name]
    if missing := variant.missing():
        raise NotRunnableError(f"not installed: {', '.join(missing)}")
    measured = Measured()
    if variant.export is not None:
        command = [sys.executable, str(_HERE / "runtime_export.py"), str(folder), variant.export]
        log = _log(folder, f"export {variant.export}")
        if subprocess.run(command, check=False, stdout=log, stderr=log).returncode:
            raise NotRunnableError(f"{variant.export} could not be made: {log.name}")
    if variant.compiles:
        shutil.rmtree(_cache(folder, name), ignore_errors=True)
        measured.cold_s, runtime = _start(name, folder, threads)
        runtime.finish()
    measured.warm_s, runtime = _start(name, folder, threads)
    return measured, runtime


def _start(name: str, folder: Path, threads: int) -> tuple[float, Runtime]:
    began = time.perf_counter()
    runtime = Runtime(name, folder, threads)
    if "failed" in runtime.start:
        raise NotRunnableError(runtime.start["failed"].splitlines()[0])
    return time.perf_counter() - began, runtime


def take_turns(
    runtimes: dict[str, Runtime], measured: dict[str, Measured], rounds: int, num_queries: int
) -> None:
    """Lets each runtime answer a query in each round."""
    for turn in range(rounds):
        tell(f"round {turn + 1} of {rounds}")
        for name, runtime in runtimes.items():
            answer = runtime.run(turn % num_queries)
            if "failed" in answer:
                raise SystemExit(f"{name}: {answer['failed']}")
            measured[name].turns.append(answer["seconds"])
            measured[name].cpu_turns.append(answer["cpu_s"])
            measured[name].margins[turn % num_queries] = answer["margins"]


def show(
    report: Report,
    measured: dict[str, Measured],
    skipped: dict[str, str],
    options: argparse.Namespace,
) -> None:
    """Prints the table and the line of JSON."""
    reference = measured[REFERENCE]
    per_candidate = 1e3 / options.candidates
    rows: dict[str, dict[str, Any]] = {}
    for name, each in measured.items():
        errors = [
            abs(ours - exact)
            for query, margins in each.margins.items()
            for ours, exact in zip(margins, reference.margins[query], strict=True)
        ]
        rows[name] = {
            "best_ms": per_candidate * min(each.turns),
            "median_ms": per_candidate * statistics.median(each.turns),
            "cpu_ms": per_candidate * min(each.cpu_turns),
            "speedup": min(reference.turns) / min(each.turns),
            "largest_error": max(errors),
            "mean_error": statistics.mean(errors),
            "resident_mb": each.memory["resident_bytes"] / 1e6,
            "uses_torch": each.memory["uses_torch"],
            "start_s": each.warm_s,
            "cold_start_s": each.cold_s,
        }
    exact = [margin for margins in reference.margins.values() for margin in margins]
    report.table(
        f"{options.model}, {options.candidates} candidates, {options.tokens} prompt tokens, "
        f"{options.slots} slots, {options.threads} threads; margins of {len(exact)} pairs with a "
        f"standard deviation of {statistics.pstdev(exact):.2f}",
        _HEADER,
        [
            [
                name,
                *(f"{row[key]:.1f}" for key in ("best_ms", "median_ms", "cpu_ms")),
                f"{row['speedup']:.2f}x",
                *(f"{row[key]:.4f}" for key in ("largest_error", "mean_error")),
                f"{row['resident_mb']:.0f}",
                f"{row['start_s']:.1f}",
                "" if row["cold_start_s"] is None else f"{row['cold_start_s']:.1f}",
            ]
            for name, row in rows.items()
        ],
    )
    if skipped:
        report.table("skipped", ["variant", "reason"], [list(each) for each in skipped.items()])
    report.finish({"rows": rows, "skipped": skipped, "pairs": len(exact)})


def _environment(folder: Path, name: str, threads: int) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "TORCHINDUCTOR_CACHE_DIR": str(_cache(folder, name)),
    }


def _cache(folder: Path, name: str) -> Path:
    return folder / "compiled" / name.replace(" ", "-").replace(",", "")


def _log(folder: Path, name: str) -> Any:
    path = folder / "logs" / f"{name.replace(' ', '-')}.txt"
    path.parent.mkdir(exist_ok=True)
    return path.open("a", encoding="utf-8")


if __name__ == "__main__":
    main()
