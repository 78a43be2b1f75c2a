r"""Searching with stored states against encoding the candidates each time, in one run.

    python benchmarks/stored_against_encoded.py                      # pico, the demo's abstracts
    python benchmarks/stored_against_encoded.py FOLDER --queries 10  # pico, a BEIR directory
    python benchmarks/stored_against_encoded.py --model nano-shape --ratio 4 --candidates 20 \
        --queries 2 --repeat 1                                       # Nano's shape, random

The same queries with the same candidates, four ways: `rank` over the candidates' texts, which
encodes them; `search` right after opening the index, when its hot tier is empty; the same search
again; `rerank` of the same ids. Of each query the best of `--repeat` turns counts, and the table
has medians over queries. The model is loaded and warm before anything is timed, and the index's
file is in the system's page cache; `benchmarks/store.py` measures reads from the disk.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from forward_time import ForwardClock, forward_clock
from random_model import SHAPES, model_path
from report import Report, positive, tell

import kalm_reranker
from kalm_reranker import KaLMReranker
from kalm_reranker.evaluation.data.beir import load_beir
from kalm_reranker.evaluation.data.collection import Collection
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.search.analysis import check_language
from kalm_reranker.search.first_stage import BM25_FOLDER
from kalm_reranker.search.results import SearchResults
from kalm_reranker.search.tantivy_bm25 import TantivyBM25
from kalm_reranker.store.sqlite_store import SQLiteStore

DEMO = Path(kalm_reranker.__file__).parent / "data" / "demo"
FIRST_STAGE = "bm25"
WAYS = ENCODED, COLD, HOT, RERANK = (
    "rank: candidates encoded",
    "search: hot tier empty",
    "search: hot",
    "rerank: hot",
)
Chosen: TypeAlias = dict[str, list[str]]  # query -> ids of its candidates

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timing:
    """One call.

    Attributes:
        wall_s: From outside.
        forward_s: Of these, in the decoder's forward passes.
        stages: Seconds of each stage, as the results tell them.
    """

    wall_s: float
    forward_s: float
    stages: dict[str, float]

    @property
    def score_s(self) -> float:
        """Seconds in scoring: tokenising the query, planning, padding, forward passes."""
        return sum(s for name, s in self.stages.items() if name.startswith("score"))

    @property
    def outside_scoring_s(self) -> float:
        """Seconds outside scoring and the first stage: reading states and texts, sorting."""
        return self.wall_s - self.score_s - self.stages.get(FIRST_STAGE, 0.0)

    @property
    def outside_model_s(self) -> float:
        """Seconds outside forward passes and the first stage."""
        return self.wall_s - self.forward_s - self.stages.get(FIRST_STAGE, 0.0)


def main(arguments: list[str] | None = None) -> None:
    """Makes the index, times the four ways, prints the tables."""
    options = parse(arguments)
    report = Report(vars(options), options.output)
    with tempfile.TemporaryDirectory(prefix="kalm-bench-") as temporary:
        report.finish(run(options, report, Path(temporary)))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Returns the checked command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("collection", nargs="?", type=Path, default=DEMO, help="BEIR directory")
    parser.add_argument(
        "--model", default="pico", help=f"name, directory or hub id, or {' or '.join(SHAPES)}"
    )
    parser.add_argument("--model-folder", type=Path, help="where to keep random checkpoints")
    parser.add_argument("--ratio", type=positive, help="of the stored states; the model's own")
    parser.add_argument("--codec", help="of the stored states; the one without loss if absent")
    parser.add_argument("--passages", type=positive, help="the first of the collection; all")
    parser.add_argument(
        "--length",
        type=positive,
        help="make passages of exactly this many tokens by joining texts (random models: 512)",
    )
    parser.add_argument("--candidates", type=positive, default=100)
    parser.add_argument("--queries", type=positive, default=5, help="those with most candidates")
    parser.add_argument("--repeat", type=positive, default=3)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--output", type=Path, help="JSON file to write the numbers to")
    options = parser.parse_args(arguments)
    if options.model in SHAPES:
        options.length = options.length or 512
        options.passages = options.passages or 2 * options.candidates
    return options


def run(options: argparse.Namespace, report: Report, folder: Path) -> dict[str, Any]:
    """Returns all numbers, and prints them as tables."""
    name = model_path(options.model, options.model_folder or folder)
    given = {"device": options.device, "dtype": options.dtype, "max_length": options.length}
    reranker = KaLMReranker(name, **{k: v for k, v in given.items() if v is not None})
    collection = load_beir(options.collection)
    texts = passages_of(collection, options.length, options.passages)
    tell(f"encoding {len(texts)} passages")
    ratio = {} if options.ratio is None else {"compression_ratio": options.ratio}
    with PassageIndex.create(folder / "index", reranker, codec=options.codec, **ratio) as index:
        added = index.add(texts.items(), show_progress=False)
        header, counts = index.header, index.stats().store
    queries = list(collection.queries.values())
    chosen = choose_queries(folder / "index", queries, options.queries, options.candidates)
    tell(f"encoded in {added.encode_s:.0f} s; timing {len(chosen)} queries")
    with forward_clock() as clock:
        timings, difference = time_queries(
            folder / "index", reranker, texts, chosen, options.repeat, clock
        )
    num_candidates = statistics.median(len(ids) for ids in chosen.values())
    rows = {way: summary(of_queries) for way, of_queries in timings.items()}
    results = {
        "model": options.model,
        "dtype": header.provenance.dtype,
        "device": str(reranker.device),
        "compression_ratio": header.compression_ratio,
        "codec": header.codec,
        "num_passages": counts.num_passages,
        "tokens_a_passage": counts.num_tokens / counts.num_passages,
        "candidates": num_candidates,
        "queries": len(chosen),
        "encode_ms_a_passage": 1e3 * added.encode_s / counts.num_passages,
        "largest_difference_of_margins": difference,
        "ways": rows,
        "times_faster": {
            way: rows[ENCODED]["wall_ms"] / row["wall_ms"]
            for way, row in rows.items()
            if way != ENCODED
        },
    }
    show(report, results)
    return results


def passages_of(collection: Collection, length: int | None, count: int | None) -> dict[str, str]:
    """Returns texts by id: the collection's own, or joined ones of at least `length` words.

    A word is at least a token, so the limit of the reranker cuts them all at the same length.
    """
    own = list(collection.passages.items())
    if length is None:
        return dict(own[:count])
    joined: dict[str, str] = {}
    parts: list[str] = []
    for passage_id, text in own:
        parts += text.split()
        if len(parts) >= length:
            joined[passage_id] = " ".join(parts)
            parts = []
            if len(joined) == count:
                break
    return joined


def choose_queries(folder: Path, queries: Sequence[str], count: int, candidates: int) -> Chosen:
    """Returns the queries with most candidates, and those candidates in first-stage order."""
    store = SQLiteStore.open(folder)
    bm25 = TantivyBM25(folder / BM25_FOLDER, language=check_language(store.header.language))
    try:
        found = {query: [key for key, _ in bm25.search(query, candidates)] for query in queries}
        best = sorted(found, key=lambda query: -len(found[query]))[:count]
        read = {query: store.read_passages(found[query]).found for query in best}
        return {query: [read[query][key].id for key in found[query]] for query in best}
    finally:
        bm25.close()
        store.close()


def time_queries(
    folder: Path,
    reranker: KaLMReranker,
    texts: dict[str, str],
    chosen: Chosen,
    repeat: int,
    clock: ForwardClock,
) -> tuple[dict[str, list[Timing]], float]:
    """Returns the best timing of every way and query, and how far margins are apart.

    The ways take turns, since machines are shared.
    """
    timings: dict[str, list[Timing]] = {way: [] for way in WAYS}
    difference = 0.0
    warm_up(folder, reranker, next(iter(chosen)))
    for number, (query, ids) in enumerate(chosen.items(), start=1):
        turns = [time_ways(folder, reranker, texts, query, ids, clock) for _ in range(repeat)]
        for way in WAYS:
            timings[way].append(min((t[way] for t, _ in turns), key=lambda timing: timing.wall_s))
        difference = max(difference, *(apart for _, apart in turns))
        tell(f"{number} of {len(chosen)} queries")
    return timings, difference


def time_ways(
    folder: Path,
    reranker: KaLMReranker,
    texts: dict[str, str],
    query: str,
    ids: list[str],
    clock: ForwardClock,
) -> tuple[dict[str, Timing], float]:
    """Returns the time of every way once, and the largest difference of margins."""
    documents = [texts[name] for name in ids]
    timings: dict[str, Timing] = {}
    with PassageIndex.open(folder, reranker) as index:
        ratio = index.header.compression_ratio
        ranked, timings[ENCODED] = timed(
            clock,
            lambda: reranker.rank(
                query, documents, compression_ratio=ratio, return_margin=True, show_progress=False
            ),
        )
        # One pass over as many pairs as `rank` scores, whatever the checkpoint's own plan.
        top_k, count = min(10, len(ids)), len(ids)
        calls: dict[str, Callable[[], SearchResults]] = {
            COLD: lambda: index.search(query, top_k, candidates=count, cascade=None),
            HOT: lambda: index.search(query, top_k, candidates=count, cascade=None),
            RERANK: lambda: index.rerank(query, ids, top_k, cascade=None),
        }
        for way, call in calls.items():
            results, timing = timed(clock, call)
            stages = {stage.name: stage.seconds for stage in results.stages}
            timings[way] = replace(timing, stages=stages)
            if results.num_candidates != len(ids):
                raise SystemExit(f"error: {way} scored {results.num_candidates} of {len(ids)}")
    margins = {ids[item["corpus_id"]]: item["margin"] for item in ranked}
    return timings, max(abs(margins[result.id] - result.margin) for result in results)


def warm_up(folder: Path, reranker: KaLMReranker, query: str) -> None:
    """Loads what the first call of a process loads, through another index object."""
    with PassageIndex.open(folder, reranker) as index:
        index.search(query, candidates=10, cascade=None)
    reranker.rank(query, ["A passage."], show_progress=False)


def timed(clock: ForwardClock, call: Callable[[], T]) -> tuple[T, Timing]:
    """Returns what a call returns, and its time."""
    clock.reset()
    start = time.perf_counter()
    result = call()
    return result, Timing(time.perf_counter() - start, clock.seconds, {})


def summary(timings: Sequence[Timing]) -> dict[str, Any]:
    """Returns medians over queries, in milliseconds."""

    def median(number: Callable[[Timing], float]) -> float:
        return 1e3 * statistics.median(map(number, timings))

    row: dict[str, Any] = {
        "wall_ms": median(lambda timing: timing.wall_s),
        "forward_ms": median(lambda timing: timing.forward_s),
    }
    if timings[0].stages:  # `rank` has none
        row |= {
            "outside_scoring_ms": median(lambda timing: timing.outside_scoring_s),
            "outside_model_ms": median(lambda timing: timing.outside_model_s),
            "stages_ms": {
                name: median(lambda timing, name=name: timing.stages[name])  # type: ignore[misc]
                for name in timings[0].stages
            },
        }
    return row


def show(report: Report, results: dict[str, Any]) -> None:
    """Prints the four ways, and the stages of those that have some."""
    ways: dict[str, dict[str, Any]] = results["ways"]
    report.table(
        f"{Path(results['model']).name} ({results['dtype']} on {results['device']}), ratio "
        f"{results['compression_ratio']}, codec {results['codec']}; {results['num_passages']} "
        f"passages of {results['tokens_a_passage']:.0f} tokens, {results['candidates']:.0f} "
        f"candidates, medians of {results['queries']} queries; margins differ by at most "
        f"{results['largest_difference_of_margins']:.2g}",
        ["way", "ms", "times faster", "forward passes", "rest, but the first stage"],
        [
            [
                way,
                f"{row['wall_ms']:.1f}",
                f"{results['times_faster'][way]:.1f}" if way != ENCODED else "",
                f"{row['forward_ms']:.1f}",
                f"{row['outside_model_ms']:.2f}" if way != ENCODED else "",
            ]
            for way, row in ways.items()
        ],
    )
    stored = [way for way in ways if way != ENCODED]
    names = list(dict.fromkeys(name for way in stored for name in ways[way]["stages_ms"]))
    rows = [
        [name, *(f"{ways[way]['stages_ms'].get(name, 0.0):.2f}" for way in stored)]
        for name in names
    ]
    rows.append(
        [
            "all but scoring and the first stage",
            *(f"{ways[way]['outside_scoring_ms']:.2f}" for way in stored),
        ]
    )
    report.table("ms of each stage", ["stage", *stored], rows)


if __name__ == "__main__":
    main()
