"""A store of large passages: writing, reading many at once from cache and disk, and upkeep."""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from report import Report, spread_ms, tell
from synthetic import ZipfTexts, blocks, encoded_passages, header_for

from kalm_reranker.store.hot_tier import HotTier
from kalm_reranker.store.sqlite_store import SQLiteStore
from kalm_reranker.store.states_reader import StatesReader

RATIO, CODEC, DTYPE = 4, "bf16", torch.bfloat16
_BLOCK = 256  # passages in a commit
_WORDS = 150  # of a text
_READS = {
    "store_states": "states as bytes",
    "packed": "packed tensor, hot tier off",
    "packed_hot": "packed tensor, all hot",
    "pooled": "pooled to twice the ratio, hot tier off",
    "pooled_hot": "pooled to twice the ratio, all hot",
    "store_states_cold": "states as bytes, file not cached",
    "packed_cold": "packed tensor, file not cached",
}


def measure_large(options: argparse.Namespace, folder: Path, report: Report) -> dict[str, Any]:
    """Returns the numbers of one store of `options.large` passages, and prints them."""
    store = SQLiteStore.create(folder, header_for(width=options.width, ratio=RATIO, codec=CODEC))
    states_bytes = options.slots * store.slot_bytes
    numbers: dict[str, Any] = {
        "passages": options.large,
        "slots": options.slots,
        "width": options.width,
        "states_bytes_a_passage": states_bytes,
    }
    numbers |= write(store, options)
    file_bytes = store.counts().file_bytes
    numbers["file_bytes_a_passage"] = file_bytes / options.large
    reads = time_reads(store, options)
    numbers["read"] = {name: spread_ms(seconds) for name, seconds in reads.items()}
    tell("large store: verify, upsert, delete, compact")
    numbers |= upkeep(store, options)
    store.close()
    show(report, numbers, options.read)
    return numbers


def write(store: SQLiteStore, options: argparse.Namespace) -> dict[str, float]:
    """Fills the store; only `put_many` is timed, and the file is on the disk afterwards."""
    texts = ZipfTexts(seed=0)
    seconds = 0.0
    text_bytes = num_bytes = 0
    for block in blocks(options.large, _BLOCK):
        ids = [f"passage-{number}" for number in block]
        passages = encoded_passages(
            ids,
            texts.draw(len(block), _WORDS),
            slots=options.slots,
            header=store.header,
            seed=block.start,
        )
        text_bytes += sum(len(passage.text or "") for passage in passages)
        num_bytes += sum(len(passage.slots) for passage in passages)
        start = time.perf_counter()
        store.put_many(passages)
        seconds += time.perf_counter() - start
        if block.start // _BLOCK % 20 == 0:
            tell(f"large store: {block.stop} of {options.large} written")
    return {
        "text_bytes_a_passage": text_bytes / options.large,
        "write_s": seconds,
        "write_mb_per_s": (num_bytes + text_bytes) / seconds / 1e6,
    }


def time_reads(store: SQLiteStore, options: argparse.Namespace) -> dict[str, list[float]]:
    """Returns seconds of reading `options.read` random passages, in each way."""
    rng = random.Random(0)
    keys = list(store.keys())
    size = min(options.read, len(keys))
    draws = [rng.sample(keys, size) for _ in range(options.draws)]
    passage_bytes = options.slots * store.slot_bytes
    off = StatesReader(store, HotTier(0), DTYPE)
    seconds: dict[str, list[float]] = {}

    def each(name: str, call: Callable[[Sequence[int]], object], cold: bool = False) -> None:
        tell(f"large store: reading, {_READS[name]}")
        seconds[name] = []
        for draw in draws:
            if cold:
                forget_file(store.path)
            start = time.perf_counter()
            call(draw)
            seconds[name].append(time.perf_counter() - start)

    with store.path.open("rb") as file:  # so that all of it is in the system's cache
        while file.read(2**24):
            pass
    each("store_states", store.read_states)
    each("packed", off.read)
    each("pooled", lambda draw: off.read(draw, 2 * RATIO))
    for name, ratio in (("packed_hot", RATIO), ("pooled_hot", 2 * RATIO)):
        # A tier of its own for each draw: twice its states, so that nothing is evicted.
        seconds[name] = []
        for draw in draws:
            reader = StatesReader(store, HotTier(3 * size * passage_bytes), DTYPE)
            reader.read(draw, ratio)
            start = time.perf_counter()
            reader.read(draw, ratio)
            seconds[name].append(time.perf_counter() - start)
    if hasattr(os, "posix_fadvise"):
        each("store_states_cold", store.read_states, cold=True)
        each("packed_cold", off.read, cold=True)
    return {name: seconds[name] for name in _READS if name in seconds}


def forget_file(path: Path) -> None:
    """Asks the system to drop its cache of a file, whose changes must be on the disk already."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def upkeep(store: SQLiteStore, options: argparse.Namespace) -> dict[str, Any]:
    """Returns seconds of verifying, replacing, deleting and compacting."""
    rng = random.Random(1)
    size = min(options.read, options.large // 2)
    numbers = rng.sample(range(options.large), 2 * size)
    replaced = [f"passage-{number}" for number in numbers[:size]]
    deleted = [f"passage-{number}" for number in numbers[size:]]
    texts = ZipfTexts(seed=1).draw(size, _WORDS)
    passages = encoded_passages(
        replaced, texts, slots=options.slots, header=store.header, seed=options.large
    )
    report = store.verify()
    if not report.ok:
        raise SystemExit(f"error: verify found {report.structure} {report.damaged}")
    times: dict[str, float] = {"verify_s": report.seconds}
    actions: dict[str, Callable[[], object]] = {
        "upsert_s": lambda: store.put_many(passages),
        "upsert_one_s": lambda: statistics.median(one_by_one(store, passages[:10])),
        "delete_s": lambda: store.delete(deleted),
        "compact_s": store.compact,
    }
    for name, action in actions.items():
        start = time.perf_counter()
        found = action()
        times[name] = found if isinstance(found, float) else time.perf_counter() - start
    counts = store.counts()
    return {
        **times,
        "changed": size,
        "verify_mb_per_s": report.num_bytes / report.seconds / 1e6,
        "file_bytes_a_passage_compacted": counts.file_bytes / counts.num_passages,
    }


def one_by_one(store: SQLiteStore, passages: Sequence[Any]) -> list[float]:
    """Returns the seconds of putting each passage in a commit of its own."""
    seconds = []
    for passage in passages:
        start = time.perf_counter()
        store.put_many([passage])
        seconds.append(time.perf_counter() - start)
    return seconds


def show(report: Report, numbers: dict[str, Any], read: int) -> None:
    """Prints one table of reads and one of everything else."""
    states_bytes = numbers["states_bytes_a_passage"]
    report.table(
        f"reading {read} random of {numbers['passages']:,} passages of {numbers['slots']} slots x "
        f"{numbers['width']} in {CODEC} ({states_bytes * read / 1e6:.1f} MB of states)",
        ["what", "p50 ms", "p95 ms"],
        [
            [_READS[name], f"{spread['p50_ms']:.2f}", f"{spread['p95_ms']:.2f}"]
            for name, spread in numbers["read"].items()
        ],
    )
    text_bytes, file_bytes = numbers["text_bytes_a_passage"], numbers["file_bytes_a_passage"]
    over = file_bytes / (states_bytes + text_bytes) - 1
    changed = numbers["changed"]
    report.table(
        "the same store",
        ["what", "value"],
        [
            ["bytes a passage: states", f"{states_bytes:,}"],
            ["bytes a passage: text", f"{text_bytes:,.0f}"],
            ["bytes a passage: file, log included", f"{file_bytes:,.0f} (+{100 * over:.1f}%)"],
            ["compacted", f"{numbers['file_bytes_a_passage_compacted']:,.0f}"],
            ["writing, MB/s", f"{numbers['write_mb_per_s']:.0f}"],
            ["verify, s", f"{numbers['verify_s']:.2f} ({numbers['verify_mb_per_s']:.0f} MB/s)"],
            [f"replacing {changed} in one commit, ms", f"{1e3 * numbers['upsert_s']:.1f}"],
            ["replacing one, a commit each, ms", f"{1e3 * numbers['upsert_one_s']:.1f}"],
            [f"deleting {changed}, ms", f"{1e3 * numbers['delete_s']:.1f}"],
            ["compact, s", f"{numbers['compact_s']:.2f}"],
        ],
    )
