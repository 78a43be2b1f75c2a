"""One process that opens an index and searches it; `store.py` starts it.

    python benchmarks/search_process.py INDEX QUERIES.json HOT_BYTES

Prints a line of JSON: seconds of opening, of the first search and of later ones, and memory after
each step. Importing, and loading the model, come before what they would blur.

Memory is told three ways: resident (with the system's pages of mapped files), unique to this
process (the same without what others share), and anonymous: what the process itself allocated,
which the system cannot simply drop.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import tantivy  # noqa: F401 - loaded before memory is looked at, as torch is
import torch  # noqa: F401
from report import spread_ms

from kalm_reranker import KaLMReranker  # noqa: F401
from kalm_reranker.index.passage_index import PassageIndex


def main(arguments: list[str] | None = None) -> None:
    """Opens, searches and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("queries", type=Path, help="JSON list of at least two")
    parser.add_argument("hot_bytes", type=int)
    options = parser.parse_args(arguments)
    queries = json.loads(options.queries.read_text(encoding="utf-8"))
    memory = {"after importing": memory_bytes()}
    start = time.perf_counter()
    index = PassageIndex.open(options.index, hot_bytes=options.hot_bytes)
    open_s = time.perf_counter() - start
    memory["after opening"] = memory_bytes()
    start = time.perf_counter()
    index.reranker.score("a query", index.reranker.encode(["a passage"], show_progress=False))
    model_s = time.perf_counter() - start
    memory["with the model"] = memory_bytes()
    seconds: list[float] = []
    stages: dict[str, list[float]] = defaultdict(list)
    pairs = 0
    for number, query in enumerate(queries):
        start = time.perf_counter()
        results = index.search(query)
        seconds.append(time.perf_counter() - start)
        pairs += results.num_candidates
        if number == 0:
            memory["after one search"] = memory_bytes()
            continue
        for stage in results.stages:
            stages[stage.name].append(stage.seconds)
    memory[f"after {len(queries)} searches"] = memory_bytes()
    stats = index.stats().hot_tier
    index.close()
    later = spread_ms(seconds[1:])
    print(
        json.dumps(
            {
                "open_s": open_s,
                "model_s": model_s,
                "first_search_s": seconds[0],
                "search_p50_ms": later["p50_ms"],
                "search_p95_ms": later["p95_ms"],
                "stages_p50_ms": {
                    name: 1e3 * statistics.median(values) for name, values in stages.items()
                },
                "pairs_a_search": pairs / len(queries),
                "hot_items": stats.num_items,
                "hot_bytes_used": stats.used_bytes,
                "hot_share": stats.hits / max(1, stats.hits + stats.misses),
                "memory": memory,
            }
        )
    )


def memory_bytes() -> dict[str, int]:
    """Returns resident, unique and anonymous bytes of this process."""
    full = psutil.Process().memory_full_info()
    return {"rss": full.rss, "uss": full.uss, "anonymous": anonymous_bytes(full.uss)}


def anonymous_bytes(otherwise: int) -> int:
    """Returns bytes that are no file's; Linux tells them, elsewhere `otherwise`."""
    path = Path("/proc/self/status")
    if path.is_file():
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return otherwise


if __name__ == "__main__":
    main()
