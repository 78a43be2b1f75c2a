"""Running benchmarks as a user starts them, and importing their parts."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

PASSAGES = {
    "c1": "The capital of China is Beijing.",
    "c2": "The capital of France is Paris.",
    "c3": "Gravity attracts bodies toward one another.",
    "c4": "A capital letter opens the sentence.",
}
QUERIES = {
    "q1": ("What is the capital of China?", "c1"),
    "q2": ("Which force attracts bodies?", "c3"),
}


def write_set(directory):
    (directory / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", PASSAGES), ("queries", {k: q for k, (q, _) in QUERIES.items()})):
        lines = (json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items())
        (directory / f"{name}.jsonl").write_text("".join(lines))
    (directory / "qrels" / "test.tsv").write_text(
        "".join(f"{key}\t{relevant}\t1\n" for key, (_, relevant) in QUERIES.items())
    )
    return directory


def run_benchmark(script, *arguments):
    """Returns the finished process and the JSON of its last line."""
    process = subprocess.run(
        [sys.executable, "-W", "error", str(BENCHMARKS / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process, json.loads(process.stdout.splitlines()[-1])
