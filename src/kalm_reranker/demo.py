"""What `kalm demo` runs: an index over real text, searched within a minute.

Everything comes with the package (with the bundled model), so it also works offline. The result
is plain data (`demo_report.py`); `demo_view.py` shows it.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from kalm_reranker.demo_report import (
    BLEND,
    BM25,
    RANKERS,
    RERANKER,
    DemoExample,
    DemoReport,
    DemoResult,
    DemoTimes,
)
from kalm_reranker.evaluation.data.bundled import load_demo_collection
from kalm_reranker.evaluation.data.collection import Collection
from kalm_reranker.evaluation.measures.metrics import MeasuredRun, measure_run
from kalm_reranker.options import UNSET, Unset, check_count
from kalm_reranker.progress import progress_bar
from kalm_reranker.search.fusion import blend_runs
from kalm_reranker.search.ranking import Run, ranked_ids

if TYPE_CHECKING:  # importing these costs torch
    from kalm_reranker.index.passage_index import PassageIndex
    from kalm_reranker.reranker import KaLMReranker
    from kalm_reranker.search.results import SearchResults

_SHOWN = 3  # results in each list of an example


def run_demo(
    model: str = "pico",
    *,
    device: str | None = None,
    dtype: str | None = None,
    compression_ratio: int | Unset | None = UNSET,
    max_length: int | Unset = UNSET,
    top_k: int = 50,
    keep: str | Path | None = None,
    on_stage: Callable[[str], None] | None = None,
    show_progress: bool | None = None,
) -> DemoReport:
    """Builds an index over the demo's abstracts and answers its queries from it.

    Args:
        model: As in `KaLMReranker`.
        device: As in `KaLMReranker`.
        dtype: As in `KaLMReranker`.
        compression_ratio: Tokens per stored state; the model's own, if not given.
        max_length: Tokens a passage is cut at; the model's own, if not given.
        top_k: Candidates that BM25 hands to the reranker for each query.
        keep: A folder for the index. If it holds one already, only what is missing is encoded.
            If not given: a temporary folder.
        on_stage: Called with a line of text when a stage begins, for a log or a spinner.
        show_progress: Progress bars, as in `KaLMReranker.encode`.

    Raises:
        InvalidOptionError: A setting is out of range.
        MissingExtraError: BM25 or the metrics are not installed.
        CheckpointError: The model cannot be found, fetched or used.
        StoreError: The index cannot be made, or the one that is kept does not fit the settings.
    """
    check_count(top_k, "top_k")
    tell = on_stage or _ignore
    collection = load_demo_collection()
    with ExitStack() as stack:
        if keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kalm-demo-")))
        else:
            folder = Path(keep)

        tell(f"Loading {model}")
        start = time.perf_counter()
        from kalm_reranker.reranker import KaLMReranker  # here, because these import torch

        reranker = KaLMReranker(
            model,
            device=device,
            dtype=dtype,
            compression_ratio=compression_ratio,
            max_length=max_length,
        )
        load_model_s = time.perf_counter() - start
        return _Demo(collection, reranker, folder, top_k, show_progress).run(load_model_s, tell)


class _Demo:
    """One run of the demo with its model loaded."""

    def __init__(
        self,
        collection: Collection,
        reranker: "KaLMReranker",
        folder: Path,
        top_k: int,
        show_progress: bool | None,
    ) -> None:
        self.collection = collection
        self.reranker = reranker
        self.folder = folder
        self.top_k = top_k
        self.show_progress = show_progress

    def run(self, load_model_s: float, tell: Callable[[str], None]) -> DemoReport:
        """Builds, searches, measures."""
        from kalm_reranker.engine.placement import dtype_name
        from kalm_reranker.index.passage_index import PassageIndex

        collection, reranker = self.collection, self.reranker
        tell(f"Encoding {len(collection.passages)} abstracts into an index, once")
        with self._opened() as index:
            added = index.add(
                [
                    {"id": key, "text": text, "metadata": {"title": collection.titles[key]}}
                    for key, text in collection.passages.items()
                ],
                show_progress=self.show_progress,
            )

        tell(f"Searching it for {len(collection.queries)} claims")
        with PassageIndex.open(self.folder, reranker) as index:
            found, seconds, second_query_s = self._answer_all(index)
            header, counts = index.header, index.stats().store

        tell("Answering one claim without the index, for comparison")
        without_index_s = self._without_index(next(iter(collection.queries)), found)

        candidates: Run = {
            query_id: {result.id: result.first_stage_score or 0.0 for result in results}
            for query_id, results in found.items()
        }
        margins: Run = {
            query_id: {result.id: result.margin for result in results}
            for query_id, results in found.items()
        }
        runs = {BM25: candidates, RERANKER: margins, BLEND: blend_runs(candidates, margins)}
        measured = {ranker: measure_run(run, collection.qrels) for ranker, run in runs.items()}
        return DemoReport(
            collection=collection.name,
            model=reranker.checkpoint.name,
            device=str(reranker.device),
            dtype=dtype_name(reranker.dtype),
            compression_ratio=header.compression_ratio,
            max_length=header.provenance.max_length,
            num_passages=len(collection.passages),
            num_queries=len(collection.queries),
            top_k=self.top_k,
            num_pairs=sum(map(len, found.values())),
            num_encoded=added.added + added.replaced,
            num_truncated=counts.num_truncated,
            num_queries_truncated=reranker.stats.queries_truncated,
            index_bytes=counts.file_bytes,
            codec=header.codec,
            ndcg_at_10={ranker: result.mean for ranker, result in measured.items()},
            times=DemoTimes(
                load_model_s=load_model_s,
                encode_s=added.encode_s,
                store_s=added.store_s,
                first_stage_s=added.first_stage_s,
                first_query_s=seconds[0],
                second_query_s=second_query_s,
                other_query_s=statistics.median(seconds[1:]),
                without_index_s=without_index_s,
            ),
            examples=_examples(collection, runs, measured),
        )

    def _opened(self) -> "PassageIndex":
        from kalm_reranker.index.passage_index import PassageIndex

        return PassageIndex.create(self.folder, self.reranker, exist_ok=True)

    def _answer_all(
        self, index: "PassageIndex"
    ) -> "tuple[dict[str, SearchResults], list[float], float]":
        """Returns all results, the seconds of each query, and those of the first one again."""
        found: dict[str, SearchResults] = {}
        seconds: list[float] = []
        second_query_s = 0.0
        with progress_bar(
            len(self.collection.queries), label="search", unit="claims", show=self.show_progress
        ) as on_progress:
            for query_id, query in self.collection.queries.items():
                found[query_id], took = self._answer(index, query)
                seconds.append(took)
                if len(seconds) == 1:
                    _, second_query_s = self._answer(index, query)
                on_progress(1)
        return found, seconds, second_query_s

    def _answer(self, index: "PassageIndex", query: str) -> "tuple[SearchResults, float]":
        """Returns all candidates, scored at one ratio, so that rankings can be compared."""
        start = time.perf_counter()
        results = index.search(query, self.top_k, candidates=self.top_k, cascade=None, fuse=True)
        return results, time.perf_counter() - start

    def _without_index(self, query_id: str, found: "dict[str, SearchResults]") -> float:
        texts = [result.text or "" for result in found[query_id]]
        start = time.perf_counter()
        self.reranker.rank(self.collection.queries[query_id], texts, show_progress=False)
        return time.perf_counter() - start


def _examples(
    collection: Collection, runs: dict[str, Run], measured: dict[str, MeasuredRun]
) -> tuple[DemoExample, ...]:
    """Returns where the blend changes BM25's shown results most, for the better and the worse.

    Both, because the best case alone would promise too much.
    """
    change = {
        query_id: _first_relevant(collection.qrels[query_id], runs[BLEND][query_id])
        - _first_relevant(collection.qrels[query_id], runs[BM25][query_id])
        for query_id in collection.queries
    }
    best = max(change, key=lambda query_id: change[query_id])
    worst = min(change, key=lambda query_id: change[query_id])
    chosen = []
    if change[best] > 0:
        chosen.append((best, "where the blend improves BM25's first results most"))
    if change[worst] < 0:
        chosen.append((worst, "where the blend harms BM25's first results most"))
    if not chosen:
        chosen.append((next(iter(collection.queries)), "the first query"))
    return tuple(
        DemoExample(
            reason=reason,
            query=collection.queries[query_id],
            num_relevant=sum(value > 0 for value in collection.qrels[query_id].values()),
            ndcg={ranker: measured[ranker].per_query[query_id] for ranker in RANKERS},
            top={ranker: _top(collection, query_id, runs[ranker]) for ranker in RANKERS},
        )
        for query_id, reason in chosen
    )


def _first_relevant(judged: dict[str, int], scores: dict[str, float]) -> float:
    """Returns 1 / rank of the first relevant result among those shown, 0 if none is."""
    for rank, passage_id in enumerate(ranked_ids(scores)[:_SHOWN], start=1):
        if judged.get(passage_id, 0) > 0:
            return 1 / rank
    return 0.0


def _top(collection: Collection, query_id: str, run: Run) -> tuple[DemoResult, ...]:
    judged = collection.qrels[query_id]
    return tuple(
        DemoResult(
            passage_id=passage_id,
            title=collection.titles[passage_id],
            relevant=judged.get(passage_id, 0) > 0,
        )
        for passage_id in ranked_ids(run[query_id])[:_SHOWN]
    )


def _ignore(line: str) -> None:
    pass
