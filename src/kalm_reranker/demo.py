"""What `kalm demo` runs: BM25, the reranker, and both together, on real text within a minute.

Everything comes with the package (with the bundled model), so it also works offline. The result
is plain data; `demo_view.py` shows it.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from kalm_reranker.evaluation.bundled import load_demo_collection
from kalm_reranker.evaluation.collection import Collection
from kalm_reranker.evaluation.metrics import MeasuredRun, measure_run
from kalm_reranker.evaluation.reranking import candidate_ids, rerank_from_states
from kalm_reranker.options import UNSET, Unset, check_count
from kalm_reranker.progress import progress_bar
from kalm_reranker.search.bm25 import BM25FirstStage
from kalm_reranker.search.fusion import blend_runs
from kalm_reranker.search.ranking import Run, ranked_ids

BM25, RERANKER, BLEND = "bm25", "reranker", "blend"
RANKERS = (BM25, RERANKER, BLEND)

_SHOWN = 3  # results in each list of an example


@dataclass(frozen=True, kw_only=True)
class DemoTimes:
    """Where the time went, in seconds of wall clock.

    Attributes:
        index_bm25_s: Building the BM25 index over all passages.
        first_stage_s: BM25 for all queries.
        load_model_s: Importing PyTorch, if nobody did before, and loading the weights.
        encode_s: Encoding every candidate passage once: the offline part.
        score_s: Scoring all queries against stored states: the online part.
    """

    index_bm25_s: float
    first_stage_s: float
    load_model_s: float
    encode_s: float
    score_s: float


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """One line of a ranked list."""

    passage_id: str
    title: str
    relevant: bool


@dataclass(frozen=True, kw_only=True)
class DemoExample:
    """One query and the top of the three lists.

    Attributes:
        reason: Why this query is shown.
        query: Its text.
        num_relevant: How many passages are judged relevant to it.
        ndcg: Ranker -> nDCG@10 of this query.
        top: Ranker -> its first results.
    """

    reason: str
    query: str
    num_relevant: int
    ndcg: dict[str, float]
    top: dict[str, tuple[DemoResult, ...]]


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """Everything the demo found out; plain data.

    Attributes:
        collection: Name of the collection.
        model: Name of the model, with its `device` and `dtype`.
        compression_ratio: Tokens per stored state.
        max_length: Tokens a passage is cut at.
        num_passages: Passages in the collection.
        num_queries: Queries.
        top_k: Candidates that BM25 hands to the reranker for each query, at most.
        num_pairs: Scored (query, passage) pairs.
        num_encoded: Passages that were a candidate of some query.
        num_truncated: Of these, cut at `max_length`.
        num_queries_truncated: Queries cut at the model's limit.
        states_bytes: Size of all passage states together.
        ndcg_at_10: Ranker -> mean nDCG@10 over the queries.
        times: Where the time went.
        examples: Queries with their lists.
    """

    collection: str
    model: str
    device: str
    dtype: str
    compression_ratio: int
    max_length: int
    num_passages: int
    num_queries: int
    top_k: int
    num_pairs: int
    num_encoded: int
    num_truncated: int
    num_queries_truncated: int
    states_bytes: int
    ndcg_at_10: dict[str, float]
    times: DemoTimes
    examples: tuple[DemoExample, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns nested dictionaries and lists that `json.dumps` takes."""
        return asdict(self)


def run_demo(
    model: str = "pico",
    *,
    device: str | None = None,
    dtype: str | None = None,
    compression_ratio: int | Unset | None = UNSET,
    max_length: int | Unset = UNSET,
    top_k: int = 50,
    on_stage: Callable[[str], None] | None = None,
    show_progress: bool | None = None,
) -> DemoReport:
    """Ranks the demo queries with BM25, with the reranker, and with the blend of both.

    Args:
        model: As in `KaLMReranker`.
        device: As in `KaLMReranker`.
        dtype: As in `KaLMReranker`.
        compression_ratio: Tokens per stored state; the model's own, if not given.
        max_length: Tokens a passage is cut at; the model's own, if not given.
        top_k: Candidates that BM25 hands to the reranker for each query.
        on_stage: Called with a line of text when a stage begins, for a log or a spinner.
        show_progress: Progress bars, as in `KaLMReranker.encode`.

    Raises:
        InvalidOptionError: A setting is out of range.
        MissingExtraError: BM25 or the metrics are not installed.
        CheckpointError: The model cannot be found, fetched or used.
    """
    check_count(top_k, "top_k")
    tell = on_stage or _ignore
    collection = load_demo_collection()
    clock = _Clock()

    tell(f"Indexing {len(collection.passages)} abstracts for BM25")
    first_stage = BM25FirstStage(collection.passages)
    index_bm25_s = clock.lap()
    candidates = first_stage.search(collection.queries, top_k)
    first_stage_s = clock.lap()

    tell(f"Loading {model}")
    from kalm_reranker.engine.placement import dtype_name  # here, because these import torch
    from kalm_reranker.reranker import KaLMReranker

    reranker = KaLMReranker(
        model,
        device=device,
        dtype=dtype,
        compression_ratio=compression_ratio,
        max_length=max_length,
    )
    load_model_s = clock.lap()

    passage_ids = candidate_ids(candidates)
    tell(f"Encoding {len(passage_ids)} abstracts, once")
    texts = [collection.passages[passage_id] for passage_id in passage_ids]
    states = reranker.encode(texts, show_progress=show_progress)
    encode_s = clock.lap()

    num_pairs = sum(map(len, candidates.values()))
    tell(f"Scoring {len(candidates)} queries against the stored states, {num_pairs} pairs")
    with progress_bar(num_pairs, label="score", unit="pairs", show=show_progress) as on_progress:
        margins = rerank_from_states(
            reranker, collection.queries, candidates, passage_ids, states, on_query=on_progress
        )
    score_s = clock.lap()

    runs = {BM25: candidates, RERANKER: margins, BLEND: blend_runs(candidates, margins)}
    measured = {ranker: measure_run(run, collection.qrels) for ranker, run in runs.items()}
    return DemoReport(
        collection=collection.name,
        model=reranker.checkpoint.name,
        device=str(reranker.device),
        dtype=dtype_name(reranker.dtype),
        compression_ratio=reranker.compression_ratio,
        max_length=states.provenance.max_length,
        num_passages=len(collection.passages),
        num_queries=len(collection.queries),
        top_k=top_k,
        num_pairs=num_pairs,
        num_encoded=len(passage_ids),
        num_truncated=sum(states.truncated),
        num_queries_truncated=reranker.stats.queries_truncated,
        states_bytes=states.num_bytes,
        ndcg_at_10={ranker: result.mean for ranker, result in measured.items()},
        times=DemoTimes(
            index_bm25_s=index_bm25_s,
            first_stage_s=first_stage_s,
            load_model_s=load_model_s,
            encode_s=encode_s,
            score_s=score_s,
        ),
        examples=_examples(collection, runs, measured),
    )


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


class _Clock:
    """Seconds since it was made or last asked."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed


def _ignore(line: str) -> None:
    pass
