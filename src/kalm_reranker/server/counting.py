"""Running totals of a service, gathered from where they are counted."""

from kalm_reranker.batching.engine_thread import EngineCounts
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.reranker import KaLMReranker
from kalm_reranker.server.text_states import TextStates
from kalm_reranker.store.hot_tier import HotTierStats


def service_counts(
    reranker: KaLMReranker, engine: EngineCounts, texts: TextStates, index: PassageIndex | None
) -> dict[str, int | float]:
    """Returns totals by name; `server/metrics_counts.py` says what each one means."""
    kept = texts.stats()
    counts: dict[str, int | float] = {
        "steps": sum(engine.steps.values()),
        "step_seconds": sum(engine.seconds.values()),
        "encode_tokens": int(engine.units.get("encode", 0)),
        "score_tokens": int(engine.units.get("score", 0)),
        **reranker.stats.as_dict(),
        "passages_reused": texts.num_reused,
        **_cache("text_cache", kept),
    }
    if index is not None:
        counts |= {"index_passages": len(index), **_cache("hot_tier", index.hot_tier_stats())}
    prefixes = reranker.prefix_cache_stats
    if prefixes is not None:
        counts |= {
            "prefix_cache_hits": prefixes.hits,
            "prefix_cache_misses": prefixes.misses,
            "prefix_cache_evictions": prefixes.evictions,
            "prefix_cache_bytes": prefixes.used_bytes,
            "prefix_cache_budget_bytes": prefixes.budget_bytes,
            "prefix_cache_items": prefixes.num_passages,
        }
    return counts


def _cache(name: str, stats: HotTierStats) -> dict[str, int]:
    return {
        f"{name}_hits": stats.hits,
        f"{name}_misses": stats.misses,
        f"{name}_evictions": stats.evictions,
        f"{name}_bytes": stats.used_bytes,
        f"{name}_budget_bytes": stats.budget_bytes,
        f"{name}_items": stats.num_items,
    }
