"""Stored passages by id against the same passages as texts, on a server with an index."""

import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving_client import post
from serving_load import Load, send_all
from serving_server import serving

from kalm_reranker import PassageIndex
from kalm_reranker.evaluation.data.bundled import load_demo_collection

COLD_TEXTS = 5  # requests: each encodes all its candidates


def compare_stored(
    arguments: Sequence[str],
    *,
    model: str,
    queries: int,
    candidates: int,
    passages: int | None,
    seed: int,
) -> dict[str, Any]:
    """Returns the median time of a request, in milliseconds, for each way to name candidates.

    Args:
        arguments: Further ones of `kalm serve`.
        model: Of the index.
        queries: Requests of each kind.
        candidates: Passages of each request.
        passages: In the index, from the demo's; None for all of them.
        seed: Of the draws.
    """
    collection = load_demo_collection()
    draw = random.Random(seed)
    ids = list(collection.passages)[:passages]
    asked = [
        (query, draw.sample(ids, min(candidates, len(ids))))
        for query in list(collection.queries.values())[:queries]
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "index")
        with PassageIndex.create(path, model) as index:
            index.add((id, collection.passages[id]) for id in ids)
            in_process = [_median_ms(index, asked) for _ in range(2)]
        with serving([*arguments, "--index", str(path)]) as server:
            by_id = [
                post("/v1/rerank", {"query": query, "documents": [{"id": id} for id in chosen]})
                for query, chosen in asked
            ]
            as_texts = [
                post(
                    "/v1/rerank",
                    {"query": query, "documents": [collection.passages[id] for id in chosen]},
                )
                for query, chosen in asked[:COLD_TEXTS]
            ]
            searches = [
                post("/v1/search", {"query": query, "candidates": candidates, "top_k": 10})
                for query, _ in asked
            ]
            send_all(server, [post("/v1/rerank", {"query": "a", "documents": ["b"]})])
            loads = {
                "by id, first time": send_all(server, by_id),
                "by id, again": send_all(server, by_id),
                "as texts, first time": send_all(server, as_texts),
                "as texts, again": send_all(server, as_texts),
                "search, first time": send_all(server, searches),
                "search, again": send_all(server, searches),
            }
    return {
        "passages": len(ids),
        "candidates": candidates,
        "in_process_first_ms": in_process[0],
        "in_process_again_ms": in_process[1],
        "ways": {name: _times(load) for name, load in loads.items()},
    }


def _times(load: Load) -> Mapping[str, float]:
    if load.statuses.keys() != {"200"}:
        failed = next(exchange for exchange in load.exchanges if exchange.status != 200)
        raise RuntimeError(f"statuses {load.statuses}; {failed.answer}")
    return load.summary()


def _median_ms(index: PassageIndex, asked: Sequence[tuple[str, Sequence[str]]]) -> float:
    seconds = []
    for query, ids in asked:
        begin = time.perf_counter()
        index.rerank(query, ids)
        seconds.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(seconds)
