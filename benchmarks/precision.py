"""Speed and error of dtypes, and the cost of `deterministic=True`, on a BEIR directory.

    python benchmarks/precision.py src/kalm_reranker/data/demo --model pico

For each setting: passages encoded per second, milliseconds to score one query against all of
them from stored states, and the largest and mean difference of margins from float32. Settings
take turns (`--repeat`), and the best time of each counts, since machines are shared.
"""

import argparse
import json
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, this_machine
from rich.console import Console
from rich.table import Table

from kalm_reranker import KaLMReranker
from kalm_reranker.evaluation.data.beir import load_beir

SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "float32, deterministic": {"dtype": "float32", "deterministic": True},
    "bfloat16, deterministic": {"dtype": "bfloat16", "deterministic": True},
}


def main() -> None:
    """Prints a table, then a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--model", default="pico")
    parser.add_argument("--passages", type=int, default=100)
    parser.add_argument("--queries", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    collection = load_beir(options.collection)
    texts = list(islice(collection.passages.values(), options.passages))
    queries = list(islice(collection.queries.values(), options.queries))
    rerankers = {name: KaLMReranker(options.model, **kw) for name, kw in SETTINGS.items()}
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in SETTINGS}
    margins: dict[str, np.ndarray] = {}
    for _ in range(options.repeat):
        for name, reranker in rerankers.items():
            encode_s, score_s, margins[name] = measure(reranker, texts, queries)
            runs[name].append((encode_s, score_s))
    tokens = rerankers["float32"].encode(texts).token_counts
    machine = this_machine()
    rows = {
        name: {
            "passages_per_s": len(texts) / min(encode for encode, _ in times),
            "ms_per_query": 1e3 * min(score for _, score in times) / len(queries),
            "largest_difference": float(np.abs(margins[name] - margins["float32"]).max()),
            "mean_difference": float(np.abs(margins[name] - margins["float32"]).mean()),
        }
        for name, times in runs.items()
    }
    console = Console()
    first = rerankers["float32"]
    console.print(describe(machine), highlight=False)
    console.print(
        f"{options.model}, {len(texts)} passages of {np.mean(tokens):.0f} tokens on average, "
        f"{len(queries)} queries, ratio {first.compression_ratio}, batch size "
        f"{first.options.batch_size}, token budget {first.options.token_budget}",
        highlight=False,
    )
    table = Table("setting", "passages/s", "ms a query", "largest difference", "mean difference")
    for name, row in rows.items():
        table.add_row(
            name,
            f"{row['passages_per_s']:.1f}",
            f"{row['ms_per_query']:.0f}",
            f"{row['largest_difference']:.4f}",
            f"{row['mean_difference']:.4f}",
        )
    console.print(table)
    print(json.dumps({"machine": machine, "options": vars(options), "rows": rows}, default=str))


def measure(
    reranker: KaLMReranker, texts: list[str], queries: list[str]
) -> tuple[float, float, np.ndarray]:
    """Returns the seconds of encoding and of scoring, and the margins [queries, passages]."""
    start = time.perf_counter()
    states = reranker.encode(texts)
    encoded = time.perf_counter()
    scored = [
        [pair.margin for pair in reranker.score(query, states, return_margin=True)]
        for query in queries
    ]
    return encoded - start, time.perf_counter() - encoded, np.array(scored)


if __name__ == "__main__":
    main()
