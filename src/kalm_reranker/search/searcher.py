"""A query from its candidates to a ranked list with texts."""

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING

from kalm_reranker.search.candidates import Candidates
from kalm_reranker.search.cascade import ScoringPlan
from kalm_reranker.search.rescoring import Rescorer, Scored
from kalm_reranker.search.results import SearchResult, SearchResults
from kalm_reranker.search.timing import StageLog

if TYPE_CHECKING:
    from kalm_reranker.store.protocol import PassageStore
    from kalm_reranker.store.records import Damage, StoredPassage

_ATTEMPTS = 3
_MOST_CHANGES = 10_000  # looked through for those of shown passages


class Searcher:
    """Ranks candidates and shows the best.

    Args:
        store: Where their texts are.
        rescorer: Scores them.
    """

    def __init__(self, store: "PassageStore", rescorer: Rescorer) -> None:
        self._store = store
        self._rescorer = rescorer

    def rank(
        self,
        query: str,
        candidates: Candidates,
        plan: ScoringPlan,
        *,
        top_k: int,
        instruction: str | None,
        fuse: bool,
        log: StageLog,
        notes: Sequence[str] = (),
    ) -> SearchResults:
        """Returns the best candidates, with text and metadata.

        Candidates that were deleted meanwhile, or are damaged on disk, are left out and said so.
        Where a shown passage was replaced while it was scored, all are scored again.
        """
        said = [*notes, *([plan.note] if plan.note else [])]
        for _ in range(_ATTEMPTS):
            before = self._store.last_change()
            rescored = self._rescorer.rescore(
                query, candidates, plan, instruction=instruction, fuse=fuse, log=log
            )
            with log.stage("read texts") as counts:
                shown, gone, damaged = self._passages(rescored.ranking, top_k)
                counts["passages"] = len(shown)
            if not self._is_changed({scored.key for scored, _ in shown}, before):
                break
        else:
            said.append("passages change faster than they are scored; texts may be newer")
        ranks = {key: rank for rank, key in enumerate(candidates.keys, start=1)}
        scores = candidates.scores or {}
        num_gone = len(set(rescored.missing)) + gone
        if num_gone:
            said.append(f"{num_gone} candidates are not in the store any more")
        return SearchResults(
            results=tuple(
                SearchResult(
                    id=passage.id,
                    rank=rank,
                    score=scored.score,
                    margin=scored.margin,
                    text=passage.text,
                    metadata=passage.metadata,
                    compression_ratio=scored.ratio,
                    truncated=scored.truncated,
                    first_stage_score=scores.get(scored.key),
                    first_stage_rank=ranks[scored.key],
                    blended=scored.blended,
                )
                for rank, (scored, passage) in enumerate(shown, start=1)
            ),
            num_candidates=len(rescored.ranking),
            stages=log.stages,
            damaged=tuple(str(item) for item in self._named([*rescored.damaged, *damaged])),
            notes=tuple(said),
        )

    def _is_changed(self, keys: Set[int], before: int) -> bool:
        """Returns whether one of the passages changed: its text may not be what was scored."""
        if self._store.last_change() == before:
            return False
        changed = self._store.changed_keys_since(before, _MOST_CHANGES)
        return changed is None or not keys.isdisjoint(changed)

    def _passages(
        self, ranking: Sequence[Scored], top_k: int
    ) -> "tuple[list[tuple[Scored, StoredPassage]], int, list[Damage]]":
        """Returns the first `top_k` that can be read, how many are gone, and the damaged."""
        shown: list[tuple[Scored, StoredPassage]] = []
        damaged: list[Damage] = []
        gone = position = 0
        while len(shown) < top_k and position < len(ranking):
            part = ranking[position : position + top_k - len(shown)]
            position += len(part)
            read = self._store.read_passages([scored.key for scored in part])
            shown += [(s, read.found[s.key]) for s in part if s.key in read.found]
            gone += len(read.missing)
            damaged += read.damaged
        return shown, gone, damaged

    def _named(self, damaged: "Sequence[Damage]") -> "list[Damage]":
        """Gives damaged states the ids of their passages, where those can be read."""
        nameless = [item.key for item in damaged if item.id is None and item.key is not None]
        if not nameless:
            return list(damaged)
        found = self._store.read_passages(nameless).found
        return [
            type(item)(item.key, found[item.key].id, item.what)
            if item.id is None and item.key in found
            else item
            for item in damaged
        ]
