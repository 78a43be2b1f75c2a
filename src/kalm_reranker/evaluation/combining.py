"""Rankings that follow from others: what a cascade makes of a coarse and a fine pass."""

from collections.abc import Mapping

from kalm_reranker.search.ranking import Run, ranked_ids


def cascade_run(coarse: Run, fine: Run, fine_count: int) -> Run:
    """Returns `cascade_scores` for every query."""
    return {
        query_id: cascade_scores(scores, fine[query_id], fine_count)
        for query_id, scores in coarse.items()
    }


def cascade_scores(
    coarse: Mapping[str, float], fine: Mapping[str, float], fine_count: int
) -> dict[str, float]:
    """Returns scores that order candidates as a cascade does.

    The best `fine_count` by the coarse scores come first, ordered by the fine ones; the others
    follow in their coarse order. Since a score belongs to a pair, this is the ranking of a search
    that scored only the best again. Margins of two ratios are not compared: the others are moved
    below all that were scored again, by the same distance.

    Args:
        coarse: Passage id -> margin of the first pass.
        fine: Passage id -> margin of the second, at least for the best of the first.
        fine_count: How many the second pass takes.
    """
    order = ranked_ids(coarse)
    best, rest = order[:fine_count], order[fine_count:]
    scores = {passage_id: fine[passage_id] for passage_id in best}
    if rest:
        lowest = min(scores.values())
        shift = lowest - 1.0 - coarse[rest[0]]
        scores |= {passage_id: coarse[passage_id] + shift for passage_id in rest}
    return scores
