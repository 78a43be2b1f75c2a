"""How long our rankers take for a query, in turns on the same queries, so that noise is shared."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.rankers.kalm import KaLMModel, KaLMRanker
from kalm_reranker.machine import this_machine
from kalm_reranker.search.ranking import ranked_ids

# query id, candidate ids -> seconds
TimedCall = Callable[[str, Sequence[str]], float]


def time_in_turns(
    calls: Mapping[str, TimedCall],
    task: RankingTask,
    num_queries: int,
    *,
    on_query: Callable[[int], None] = lambda count: None,
) -> dict[str, list[float]]:
    """Returns the seconds of each call for the same queries, spread evenly over the task's.

    The calls take turns on every query. The first query is done twice, once before anything is
    timed.

    Args:
        calls: Name -> what to time.
        task: Queries and candidates; those without candidates are left out.
        num_queries: Most queries.
        on_query: Told of each finished query.

    Returns:
        Name -> seconds by query; empty lists where no query has candidates.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    chosen = evenly([q for q, found in task.candidates.items() if found], num_queries)
    for query_id in [*chosen[:1], *chosen]:
        ids = list(task.candidates[query_id])
        for name, call in calls.items():
            seconds[name].append(call(query_id, ids))
        on_query(1)
    return {name: values[1:] for name, values in seconds.items()}


def circumstances() -> dict[str, Any]:
    """Returns what times depend on besides what is timed, as JSON holds it."""
    machine = this_machine()
    names: tuple[Literal["cpu", "cores", "torch_threads", "gpu", "torch", "kalm_reranker"], ...] = (
        "cpu",
        "cores",
        "torch_threads",
        "gpu",
        "torch",
        "kalm_reranker",
    )
    return {name: machine[name] for name in names}


def median_ms(seconds: Sequence[float]) -> float | None:
    """Returns the median in milliseconds; None of nothing."""
    return 1e3 * statistics.median(seconds) if seconds else None


def evenly(items: Sequence[str], count: int) -> list[str]:
    """Returns at most `count` items, spread evenly over all."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def stored_call(ranker: KaLMRanker) -> TimedCall:
    """Times reading stored states and scoring them, with nothing kept from query to query."""

    def call(query_id: str, passage_ids: Sequence[str]) -> float:
        start = time.perf_counter()
        _score_afresh(ranker.model, query_id, passage_ids, ranker.ratio, ranker.codec)
        return time.perf_counter() - start

    return call


def cascade_call(coarse: KaLMRanker, fine: KaLMRanker, fine_count: int) -> TimedCall:
    """Times both passes of a cascade, with nothing kept from query to query.

    As a search does it: no more candidates than the second pass takes go through that one alone.
    """

    def call(query_id: str, passage_ids: Sequence[str]) -> float:
        start = time.perf_counter()
        if len(passage_ids) <= fine_count:
            _score_afresh(fine.model, query_id, passage_ids, fine.ratio, fine.codec)
            return time.perf_counter() - start
        first = _score_afresh(coarse.model, query_id, passage_ids, coarse.ratio, coarse.codec)
        best = ranked_ids(first)[:fine_count]
        _score_afresh(fine.model, query_id, best, fine.ratio, fine.codec)
        return time.perf_counter() - start

    return call


def cached_call(ranker: KaLMRanker) -> TimedCall:
    """Times a query whose candidates were scored before, so that the prefix cache has them."""

    def call(query_id: str, passage_ids: Sequence[str]) -> float:
        model = ranker.model
        model.margins(query_id, passage_ids, ranker.ratio, ranker.codec)
        start = time.perf_counter()
        model.margins(query_id, passage_ids, ranker.ratio, ranker.codec)
        return time.perf_counter() - start

    return call


def encoded_call(model: KaLMModel, ratio: int) -> TimedCall:
    """Times encoding the candidates for the query, and scoring them: what joint rerankers do."""

    def call(query_id: str, passage_ids: Sequence[str]) -> float:
        task = model.task
        query = task.queries[query_id]
        texts = [task.passages[passage_id] for passage_id in passage_ids]
        start = time.perf_counter()
        model.reranker.predict(
            [(query, text) for text in texts],
            task.instruction_for(query_id),
            return_margin=True,
            compression_ratio=ratio,
            show_progress=False,
        )
        return time.perf_counter() - start

    return call


def _score_afresh(
    model: KaLMModel, query_id: str, passage_ids: Sequence[str], ratio: int, codec: str | None
) -> dict[str, float]:
    """Scores states without identities, of which the prefix cache keeps nothing."""
    margins: dict[str, float] = {}
    for block in model.states.blocks(passage_ids, ratio):
        kept = model.states.read(block, ratio, codec)
        states = PassageStates(
            kept.slots, kept.token_counts, kept.truncated, kept.compression_ratio, kept.provenance
        )
        margins |= model.margins_of_states(query_id, block, states)
    return margins
