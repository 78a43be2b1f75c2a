"""Rankings that follow from others: what a cascade makes of a coarse and a fine pass."""

from collections.abc import Callable, Mapping, Sequence

from kalm_reranker.search.fusion import blend
from kalm_reranker.search.ranking import Run, ranked_ids


def cascade_run(coarse: Run, fine: Run, fine_count: int) -> Run:
    """Returns `cascade_scores` for every query."""
    return {
        query_id: cascade_scores(scores, fine[query_id], fine_count)
        for query_id, scores in coarse.items()
    }


def blended_cascade_run(first_stage: Run, coarse: Run, fine: Run, fine_count: int) -> Run:
    """Returns `blended_cascade_scores` for every query."""
    return {
        query_id: blended_cascade_scores(first_stage[query_id], scores, fine[query_id], fine_count)
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
    return _in_two_passes(coarse, lambda best: {key: fine[key] for key in best}, fine_count)


def blended_cascade_scores(
    first_stage: Mapping[str, float],
    coarse: Mapping[str, float],
    fine: Mapping[str, float],
    fine_count: int,
) -> dict[str, float]:
    """Returns scores that order candidates as a cascade does whose passes are blended.

    The first stage takes part in both passes, as in a search: in which candidates are scored again,
    and in their order, among them alone.

    Args:
        first_stage: Passage id -> first-stage score.
        coarse: Passage id -> margin of the first pass.
        fine: Passage id -> margin of the second.
        fine_count: How many the second pass takes.

    Raises:
        InputError: The candidates differ, or a score is not finite.
    """
    return _in_two_passes(
        blend(first_stage, coarse),
        lambda best: blend(
            {key: first_stage[key] for key in best}, {key: fine[key] for key in best}
        ),
        fine_count,
    )


def _in_two_passes(
    first: Mapping[str, float],
    second: Callable[[Sequence[str]], Mapping[str, float]],
    fine_count: int,
) -> dict[str, float]:
    order = ranked_ids(first)
    best, rest = order[:fine_count], order[fine_count:]
    scores = dict(second(best))
    if rest:
        shift = min(scores.values()) - 1.0 - first[rest[0]]
        scores |= {passage_id: first[passage_id] + shift for passage_id in rest}
    return scores
