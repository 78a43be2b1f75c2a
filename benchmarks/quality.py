"""Ranking quality of BM25, the reranker alone, and their blend, on any BEIR directories.

    python benchmarks/quality.py --data FOLDER --ratios 2,4,8 --max-queries 64

Every ranker orders the same BM25 candidates. Passages are encoded once for each set, at the
finest resolution that serves all ratios, and scored from those states. Finished sets are kept in
the result file and not run again. Progress goes to stderr; the table and a last line of JSON
go to stdout.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from machine import this_machine
from quality_results import (
    FIRST_STAGE,
    Results,
    SetResult,
    Settings,
    blend_name,
    column_name,
)
from rich.console import Console
from rich.table import Table

from kalm_reranker import KaLMReranker, KalmRerankerError
from kalm_reranker.evaluation.beir import load_beir
from kalm_reranker.evaluation.metrics import RECALL_AT_100, measure_run
from kalm_reranker.evaluation.reranking import candidate_ids, rerank_from_states
from kalm_reranker.search.bm25 import BM25FirstStage
from kalm_reranker.search.fusion import blend_runs

_REPORT_EVERY_S = 10.0


def main(arguments: list[str] | None = None) -> None:
    """Runs the sets that are not in the result file yet."""
    options = parse(arguments)
    try:
        run(options)
    except KalmRerankerError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        raise SystemExit(f"error: {error.message}{hint}") from error


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Returns the checked command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", type=Path, help="BEIR directories")
    parser.add_argument("--data", type=Path, help="folder whose BEIR directories are all run")
    parser.add_argument("--model", default="pico", help="name, directory or hub id")
    parser.add_argument(
        "--ratios", type=_ratios, help="for example 2,4,8; the model's own if absent"
    )
    parser.add_argument("--max-queries", type=_positive, help="first queries of each set")
    parser.add_argument("--max-length", type=_positive, help="tokens of a passage; the model's own")
    parser.add_argument("--top-k", type=_positive, default=100, help="BM25 candidates of a query")
    parser.add_argument("--split", default="test")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("benchmarks/results/quality.json"),
        help="result file; the table is written beside it as .md",
    )
    options = parser.parse_args(arguments)
    if options.output.suffix != ".json":
        parser.error(f"--output must end in .json; got {options.output}")
    if options.data is not None:
        found = sorted(path.parent for path in options.data.glob("*/queries.jsonl*"))
        options.sets += [path for path in found if path not in options.sets]
    if not options.sets:
        parser.error("no BEIR directories: name some, or give --data FOLDER that holds some")
    names = [path.resolve().name for path in options.sets]
    if len(set(names)) < len(names):
        parser.error("two directories have the same name, and names are the rows of the table")
    return options


def run(options: argparse.Namespace) -> None:
    """Runs the sets, saves after each, and prints the table."""
    given: dict[str, Any] = {
        name: value
        for name, value in (
            ("device", options.device),
            ("dtype", options.dtype),
            ("max_length", options.max_length),
        )
        if value is not None
    }
    tell(f"loading {options.model}")
    reranker = KaLMReranker(options.model, **given)
    settings = Settings(
        model=options.model,
        fingerprint=reranker.provenance.model_fingerprint,
        device=str(reranker.device),
        dtype=reranker.provenance.dtype,
        ratios=options.ratios or [reranker.compression_ratio],
        max_length=reranker.provenance.max_length,
        query_max_length=reranker.options.query_max_length,
        top_k=options.top_k,
        max_queries=options.max_queries,
        split=options.split,
    )
    results = Results.load_or_new(options.output, settings, this_machine())
    for number, directory in enumerate(options.sets, start=1):
        name = directory.resolve().name
        place = f"[{number}/{len(options.sets)}] {name}"
        if name in results.sets:
            tell_at(place, f"already in {options.output.name}")
            continue
        results.sets[name] = run_set(reranker, directory, settings, partial(tell_at, place))
        results.save(options.output)
    results.save(options.output)
    show(results)


def run_set(
    reranker: KaLMReranker, directory: Path, settings: Settings, say: Callable[[str], None]
) -> SetResult:
    """Returns the numbers of one collection."""
    seconds: dict[str, float] = {}
    collection = load_beir(directory, split=settings.split)
    if settings.max_queries is not None:
        collection = collection.first_queries(settings.max_queries)
    if collection.num_dropped_queries or collection.num_dangling_judgements:
        say(
            f"{collection.num_dropped_queries} queries without a relevant passage dropped, "
            f"{collection.num_dangling_judgements} judgements of missing queries or passages"
        )

    start = time.perf_counter()
    first_stage = BM25FirstStage(collection.passages)
    candidates = first_stage.search(collection.queries, settings.top_k)
    seconds["bm25"] = time.perf_counter() - start
    passage_ids = candidate_ids(candidates)
    num_pairs = sum(map(len, candidates.values()))
    say(f"{len(candidates)} queries, {num_pairs} pairs, encoding {len(passage_ids)} passages")

    start = time.perf_counter()
    base = math.gcd(*settings.ratios)
    texts = [collection.passages[passage_id] for passage_id in passage_ids]
    states = reranker.encode(texts, compression_ratio=base)
    seconds["encode"] = time.perf_counter() - start
    say(f"encoded in {seconds['encode']:.0f} s, {states.num_bytes / 1e6:.0f} MB")

    ndcg = {FIRST_STAGE: measure_run(candidates, collection.qrels).mean}
    queries_truncated_before = reranker.stats.queries_truncated
    for ratio in settings.ratios:
        column = column_name(settings.model, ratio)
        start = time.perf_counter()
        margins = rerank_from_states(
            reranker,
            collection.queries,
            candidates,
            passage_ids,
            states.repool(ratio),
            on_query=_Progress(say, column, num_pairs),
        )
        seconds[f"score r={ratio}"] = time.perf_counter() - start
        ndcg[column] = measure_run(margins, collection.qrels).mean
        blended = blend_runs(candidates, margins)
        ndcg[blend_name(column)] = measure_run(blended, collection.qrels).mean
        say(
            f"{column} {ndcg[column]:.4f}, blend {ndcg[blend_name(column)]:.4f}, "
            f"BM25 {ndcg[FIRST_STAGE]:.4f}"
        )
    num_queries_truncated = reranker.stats.queries_truncated - queries_truncated_before
    return SetResult(
        num_passages=len(collection.passages),
        num_queries=len(collection.queries),
        num_encoded=len(passage_ids),
        num_truncated=sum(states.truncated),
        num_queries_truncated=num_queries_truncated // len(settings.ratios),
        candidates_recall_at_100=measure_run(candidates, collection.qrels, RECALL_AT_100).mean,
        ndcg_at_10=ndcg,
        seconds={step: round(value, 3) for step, value in seconds.items()},
    )


class _Progress:
    """Says every few seconds how many pairs are scored."""

    def __init__(self, say: Callable[[str], None], column: str, total: int) -> None:
        self._say, self._column, self._total = say, column, total
        self._done = 0
        self._start = self._last = time.perf_counter()

    def __call__(self, count: int) -> None:
        self._done += count
        now = time.perf_counter()
        if now - self._last >= _REPORT_EVERY_S:
            self._last = now
            left = (now - self._start) / self._done * (self._total - self._done)
            self._say(f"{self._column}: {self._done}/{self._total} pairs, about {left:.0f} s left")


def show(results: Results) -> None:
    """Prints the table, then the same numbers as one line of JSON."""
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width that a table should fit
        console = Console(width=200)
    table = Table(caption=results.caption(), caption_justify="left")
    for index, name in enumerate(results.header()):
        table.add_column(name, justify="right" if index else "left")
    rows = results.rows()
    for row in rows:
        table.add_row(*row, end_section=row is rows[-2] if len(rows) > 2 else False)
    console.print(table)
    sys.stdout.write(
        json.dumps({name: result.ndcg_at_10 for name, result in results.sets.items()}) + "\n"
    )


def tell(line: str) -> None:
    """Writes a line of progress."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def tell_at(place: str, line: str) -> None:
    """Writes a line of progress of one set."""
    tell(f"{place}: {line}")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {value}")
    return value


def _ratios(text: str) -> list[int]:
    return sorted({_positive(part) for part in text.split(",")})


if __name__ == "__main__":
    main()
