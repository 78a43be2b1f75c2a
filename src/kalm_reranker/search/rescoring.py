"""Margins of candidates from stored states, in one pass or two, and the order they give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kalm_reranker.search.candidates import Candidates
from kalm_reranker.search.cascade import ScoringPlan
from kalm_reranker.search.fusion import blend
from kalm_reranker.search.timing import StageLog

if TYPE_CHECKING:  # importing these costs torch
    from kalm_reranker.reranker import KaLMReranker
    from kalm_reranker.store.records import Damage
    from kalm_reranker.store.states_reader import StatesReader

# States in memory at once, besides the hot tier: some 2,000 passages of pico, 200 of Large.
_BLOCK_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Scored:
    """A scored candidate.

    Attributes:
        key: Of the passage.
        score: P(yes), or what a calibration makes of it.
        margin: yes logit - no logit.
        ratio: At which it was scored last.
        truncated: Whether its text was cut when it was encoded.
        blended: Sum of z-scores, where a blend was asked for.
    """

    key: int
    score: float
    margin: float
    ratio: int
    truncated: bool
    blended: float | None = None


@dataclass(frozen=True, slots=True)
class Rescored:
    """Scored candidates, best first, and those that could not be scored."""

    ranking: tuple[Scored, ...]
    missing: tuple[int, ...]
    damaged: "tuple[Damage, ...]"


class Rescorer:
    """Scores candidates of a store with a reranker.

    Args:
        reader: Reads their states.
        reranker: The model that made them.
    """

    def __init__(self, reader: "StatesReader", reranker: "KaLMReranker") -> None:
        self._reader = reader
        self._reranker = reranker

    def rescore(
        self,
        query: str,
        candidates: Candidates,
        plan: ScoringPlan,
        *,
        instruction: str | None,
        fuse: bool,
        log: StageLog,
    ) -> Rescored:
        """Scores all candidates, and with a cascade the best of them again at the fine ratio.

        Args:
            query: The query.
            candidates: What to score.
            plan: At which ratios.
            instruction: Task instruction; the checkpoint's default, if None.
            fuse: Order by the sum of the z-scores of margin and first-stage score.
            log: Takes the time of each stage.

        Returns:
            The candidates in order. With a cascade all rescored ones come before the rest, each
            group in its own order, since scores of two ratios are not compared.
        """
        positions = {key: position for position, key in enumerate(candidates.keys)}
        scores = candidates.scores if fuse else None
        ratio = plan.ratio
        # Fewer candidates than the second pass takes anyway: the first would be for nothing.
        if plan.coarse_ratio is not None and len(candidates.keys) > plan.fine_count:
            ratio = plan.coarse_ratio
        first = self._pass(query, candidates.keys, ratio, instruction, log)
        ranking = _ordered(first.ranking, scores, positions)
        missing, damaged = first.missing, first.damaged
        if ratio != plan.ratio:
            best = [scored.key for scored in ranking[: plan.fine_count]]
            second = self._pass(query, best, plan.ratio, instruction, log)
            unread = set(best) - {scored.key for scored in second.ranking}
            rest = [s for s in ranking[plan.fine_count :] if s.key not in unread]
            ranking = [*_ordered(second.ranking, scores, positions), *rest]
            missing, damaged = missing + second.missing, damaged + second.damaged
        return Rescored(tuple(ranking), missing, damaged)

    def _pass(
        self,
        query: str,
        keys: Sequence[int],
        ratio: int,
        instruction: str | None,
        log: StageLog,
    ) -> Rescored:
        """Scores passages at one ratio, a block at a time, so that memory is bounded."""
        ranking: list[Scored] = []
        missing: tuple[int, ...] = ()
        damaged: tuple[Damage, ...] = ()
        for block in self._reader.blocks(keys, _BLOCK_BYTES, ratio):
            with log.stage(f"read states r={ratio}") as counts:
                read = self._reader.read(block, ratio)
                counts |= {
                    "passages": len(read.keys),
                    "hot": read.num_hot,
                    "bytes_from_store": read.num_bytes,
                }
            before = self._reranker.prefix_cache_stats
            with log.stage(f"score r={ratio}") as counts:
                pairs = self._reranker.score(
                    query, read.states, instruction, return_margin=True, show_progress=False
                )
                counts |= {"pairs": len(pairs), "states": int(read.states.slots.shape[0])}
                after = self._reranker.prefix_cache_stats
                if before is not None and after is not None:  # other threads' hits count here, too
                    counts["prefix_hits"] = after.hits - before.hits
            ranking += [
                Scored(key, pair.score, pair.margin, ratio, truncated)
                for key, pair, truncated in zip(
                    read.keys, pairs, read.states.truncated, strict=True
                )
            ]
            missing, damaged = missing + read.missing, damaged + read.damaged
        return Rescored(tuple(ranking), missing, damaged)


def _ordered(
    scored: Sequence[Scored], first_stage: Mapping[int, float] | None, positions: Mapping[int, int]
) -> list[Scored]:
    """Returns the candidates by blend or margin; equal ones in first-stage order."""
    if first_stage is None:
        return sorted(scored, key=lambda s: (-s.margin, positions[s.key]))
    blended = blend({s.key: first_stage[s.key] for s in scored}, {s.key: s.margin for s in scored})
    with_blend = [replace(s, blended=blended[s.key]) for s in scored]
    return sorted(with_blend, key=lambda s: (-blended[s.key], positions[s.key]))
