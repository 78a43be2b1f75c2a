"""Online cost: what the paper's formula says, beside what the engine measures here."""

import statistics
from collections.abc import Callable

from kalm_reranker.analytic_cost import AnalyticCost
from kalm_reranker.evaluation.rankers.kalm import KaLMModel, KaLMRanker
from kalm_reranker.evaluation.results import OnlineCost
from kalm_reranker.evaluation.timing import (
    cached_call,
    encoded_call,
    evenly,
    median_ms,
    stored_call,
    time_in_turns,
)

ENCODED, STORED, CACHED = "encoded", "stored", "prefix cached"

# Encoding the candidates for a query takes tens of times as long as anything else here.
_ENCODED_QUERIES = 3


def online_costs(
    model: KaLMModel,
    num_queries: int,
    *,
    on_query: Callable[[int], None] = lambda count: None,
) -> tuple[OnlineCost, ...]:
    """Times a model's ways of scoring the candidates of its dataset.

    Every ratio is timed from stored states, with and without a prefix cache, in turns on the same
    queries; encoding the candidates for the query is timed on three of them, at the first ratio,
    since pooling costs nothing beside it.

    Args:
        model: Prepared for a dataset; states are read without loss, whatever codecs are compared.
        num_queries: Queries to time, after one that is not counted.
        on_query: Told of each finished query.
    """
    task = model.task
    calls = {}
    for ratio in model.ratios:
        ranker = KaLMRanker(model, ratio)
        calls[STORED, ranker.ratio] = stored_call(ranker)
        if model.reranker.prefix_cache_stats is not None:
            calls[CACHED, ranker.ratio] = cached_call(ranker)
    named = {f"{way} {ratio}": call for (way, ratio), call in calls.items()}
    seconds = time_in_turns(named, task, num_queries, on_query=on_query)
    first = model.ratios[0]
    encoded = time_in_turns(
        {ENCODED: encoded_call(model, first)}, task, _ENCODED_QUERIES, on_query=on_query
    )
    encoded_ms = median_ms(encoded[ENCODED])

    queries = evenly([q for q, found in task.candidates.items() if found], num_queries)
    prompts = [
        model.reranker.count_prompt_tokens(task.queries[q], task.instruction_for(q))
        for q in queries
    ]
    all_tokens = statistics.fmean(total for total, _ in prompts)
    own_tokens = statistics.fmean(own for _, own in prompts)
    num_candidates = statistics.fmean(len(task.candidates[q]) for q in queries)
    length = statistics.fmean(model.states.token_counts())

    def row(way: str, ratio: int, ms: float) -> OnlineCost:
        return OnlineCost(
            dataset=task.dataset,
            model=model.name,
            way=way,
            compression_ratio=ratio,
            num_candidates=num_candidates,
            passage_tokens=length,
            query_tokens=own_tokens if way == CACHED else all_tokens,
            measured_ms=ms,
            # The formula knows neither a prefix cache nor encoding for one query.
            analytic=analytic_share(model, length, ratio, all_tokens) if way == STORED else None,
            measured=None if encoded_ms is None else ms / encoded_ms,
        )

    rows = [] if encoded_ms is None else [row(ENCODED, first, encoded_ms)]
    for way, ratio in calls:
        ms = median_ms(seconds[f"{way} {ratio}"])
        if ms is not None:
            rows.append(row(way, ratio, ms))
    return tuple(rows)


def analytic_share(model: KaLMModel, length: float, ratio: int, query_tokens: float) -> float:
    """Returns the formula's cost of stored states in units of a joint cross-encoder's.

    Args:
        model: Gives layers and width; the cross-encoder has the layers of both its halves.
        length: Mean tokens of a passage.
        ratio: Compression ratio.
        query_tokens: Mean tokens that are read besides the passage.
    """
    config = model.reranker.config
    cost = AnalyticCost(
        decoder_layers=config.decoder.num_layers,
        joint_layers=config.encoder.num_layers + config.decoder.num_layers,
        width=config.encoder.hidden_width,
        query_tokens=query_tokens,
    )
    return 1 / cost.speedup(length, ratio)
