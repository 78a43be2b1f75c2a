"""Stores of many short passages: opening, searching and memory of new processes, by size."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from random_model import model_path
from report import Report, tell
from synthetic import ZipfTexts, blocks, encoded_passages

from kalm_reranker import KaLMReranker
from kalm_reranker.index.creation import new_header
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.store.sqlite_store import SQLiteStore

RATIO, SLOTS, WORDS = 4, 4, 16
_BLOCK = 8_192
_PROCESS = Path(__file__).with_name("search_process.py")


def measure_growth(options: argparse.Namespace, folder: Path, report: Report) -> dict[str, Any]:
    """Returns the numbers of each size, and prints them side by side."""
    reranker = KaLMReranker(model_path("tiny-shape", folder), compression_ratio=RATIO)
    queries = folder / "queries.json"
    queries.write_text(json.dumps(ZipfTexts(seed=7).queries(options.searches)), encoding="utf-8")
    sizes: dict[int, dict[str, Any]] = {}
    for size in options.sizes:
        place = folder / f"index-{size}"
        built = build(place, reranker, size)
        tell(f"{size:,} passages: {options.searches} searches in a new process")
        measured = in_new_process(place, queries, options.hot_bytes)
        sizes[size] = {**built, **measured}
    show(report, sizes, options)
    return {
        "slots": SLOTS,
        "words": WORDS,
        "hot_bytes": options.hot_bytes,
        "searches": options.searches,
        "sizes": sizes,
    }


def build(folder: Path, reranker: KaLMReranker, size: int) -> dict[str, Any]:
    """Makes an index with random states; returns seconds and bytes of its parts."""
    header = new_header(
        reranker, compression_ratio=RATIO, codec=None, keep_text=True, language="other", dense=None
    )
    store = SQLiteStore.create(folder, header)
    texts = ZipfTexts(seed=3)
    seconds = 0.0
    for block in blocks(size, _BLOCK):
        passages = encoded_passages(
            [f"passage-{number}" for number in block],
            texts.draw(len(block), WORDS),
            slots=SLOTS,
            header=header,
            seed=block.start,
        )
        start = time.perf_counter()
        store.put_many(passages)
        seconds += time.perf_counter() - start
    file_bytes = store.counts().file_bytes
    store.close()
    tell(f"{size:,} passages: building BM25")
    start = time.perf_counter()
    with PassageIndex.open(folder, reranker) as index:
        index.sync_first_stage()
    return {
        "store_s": seconds,
        "bm25_s": time.perf_counter() - start,
        "store_bytes": file_bytes,
        "bm25_bytes": sum(f.stat().st_size for f in (folder / "bm25").rglob("*") if f.is_file()),
    }


def in_new_process(folder: Path, queries: Path, hot_bytes: int) -> dict[str, Any]:
    """Returns what `search_process.py` measures."""
    command = [sys.executable, str(_PROCESS), str(folder), str(queries), str(hot_bytes)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return measured


def show(report: Report, sizes: dict[int, dict[str, Any]], options: argparse.Namespace) -> None:
    """Prints a column for each size."""

    def row(what: str, number: str, scale: float = 1.0, digits: int = 1) -> list[str]:
        return [what, *(f"{scale * by[number]:,.{digits}f}" for by in sizes.values())]

    rows = [
        row("store, MB", "store_bytes", 1e-6),
        row("BM25, MB", "bm25_bytes", 1e-6),
        row("building BM25, s", "bm25_s"),
        row("opening, ms", "open_s", 1e3),
        row("passages scored in a search", "pairs_a_search"),
        row("first search, ms", "first_search_s", 1e3),
        row("later searches, p50 ms", "search_p50_ms"),
        row("later searches, p95 ms", "search_p95_ms"),
    ]
    for stage in next(iter(sizes.values()))["stages_p50_ms"]:
        values = (by["stages_p50_ms"][stage] for by in sizes.values())
        rows.append([f"    {stage}, p50 ms", *(f"{value:.2f}" for value in values)])
    for moment in next(iter(sizes.values()))["memory"]:
        for kind in ("rss", "uss", "anonymous"):
            values = (by["memory"][moment][kind] for by in sizes.values())
            rows.append([f"{kind} {moment}, MB", *(f"{value / 1e6:.1f}" for value in values)])
    report.table(
        f"short passages ({SLOTS} slots, {WORDS} words), a model of width 64, hot tier of "
        f"{options.hot_bytes / 1e6:.1f} MB, {options.searches} searches in a new process",
        ["what", *(f"{size:,} passages" for size in sizes)],
        rows,
    )
