"""The candidates of a collection: found once, the same for every ranker, kept for the next time."""

from collections.abc import Collection as Sized
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kalm_reranker.errors import InputError
from kalm_reranker.evaluation.data.collection import Collection
from kalm_reranker.evaluation.first_stage.first_stage_spec import FirstStageSpec
from kalm_reranker.evaluation.first_stage.first_stages import first_stage
from kalm_reranker.evaluation.saved_runs import SavedRun, UnusableRunError, load_run, save_run
from kalm_reranker.evaluation.text_hash import TextHash
from kalm_reranker.options import check_count
from kalm_reranker.search.ranking import Run, ranked_ids

__all__ = ["Candidates", "FirstStageSpec", "find_candidates"]

_NAME = "candidates"  # of their files


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """What rankers are to order.

    Attributes:
        run: Every query of the collection -> passage id -> first-stage score, best first; empty
            for a query that nothing was found for.
        description: How they were found: engine, its settings, depth.
        notes: What a reader of the numbers has to know: queries without candidates, ...
        reused: Whether they were found by an earlier evaluation.
    """

    run: Run
    description: str
    notes: tuple[str, ...]
    reused: bool


def find_candidates(
    spec: FirstStageSpec,
    collection: Collection,
    *,
    top_k: int,
    folder: Path,
    task: str | None = None,
    subset: str = "default",
    split: str = "test",
    device: str | None = None,
    batch_size: int = 32,
    show_progress: bool | None = None,
) -> Candidates:
    """Returns the candidates of a collection's queries.

    They are saved to `folder`, and taken from there as long as all that they depend on is the
    same: specification, depth, texts, model or file, versions of the libraries.

    Passages that the collection lacks, that lie outside a query's pool, or that are the query
    itself where the collection excludes it, are left out before the run is cut, so that `top_k`
    are scored where the first stage found as many.

    Args:
        spec: What finds them.
        collection: Passages and judged queries.
        top_k: Most candidates of a query.
        folder: Of this dataset; made where it is missing.
        task: Name of mteb's task, whose predictions are read; None for the collection's name.
        subset: Of mteb's predictions, for example a language.
        split: Of mteb's predictions.
        device: Of a dense model; None lets sentence-transformers choose.
        batch_size: Texts that a dense model encodes at a time.
        show_progress: See `progress_bar`.

    Raises:
        InputError: No candidate was found for any query, or a score is not finite.
        InvalidOptionError: `top_k` is not a positive integer, or the collection brings no
            candidates where they were asked for.
        DataFileError: A file cannot be read, or `folder` cannot be written.
        CheckpointError: The dense model cannot be found, fetched, or loaded.
        MissingExtraError: What the first stage needs is not installed.
    """
    check_count(top_k, "top_k")
    if not collection.passages or not collection.queries:
        raise InputError(
            f"The dataset {collection.name!r} has {len(collection.passages)} passages and "
            f"{len(collection.queries)} judged queries; candidates need both."
        )
    stage = first_stage(
        spec,
        collection,
        task=task,
        subset=subset,
        split=split,
        device=device,
        batch_size=batch_size,
        show_progress=show_progress,
    )
    made_from = {
        "first_stage": str(spec),
        "top_k": top_k,
        "collection": _collection_hash(collection),
        **stage.made_from(),
    }
    saved, why = _load(folder, made_from)
    if saved is not None:
        return Candidates(
            run=saved.for_queries(collection.queries),
            description=saved.description,
            notes=saved.notes,
            reused=True,
        )
    # One more, where one may be the query itself.
    found = stage.find(top_k + collection.excludes_own_id)
    run, notes = _checked(found, collection, top_k=top_k, source=stage.source)
    description = f"{stage.description()}, best {top_k:,} passages of a query"
    save_run(
        folder,
        _NAME,
        SavedRun(
            run={query_id: found for query_id, found in run.items() if found},
            made_from=made_from,
            description=description,
            notes=notes,
        ),
    )
    return Candidates(run=run, description=description, notes=(*notes, *why), reused=False)


def _load(folder: Path, made_from: Mapping[str, Any]) -> tuple[SavedRun | None, tuple[str, ...]]:
    """Returns the saved candidates if they are the ones, else a note of why they are not."""
    try:
        saved = load_run(folder, _NAME)
    except UnusableRunError as error:
        return None, (f"Candidates were found anew: {error}.",)
    if saved is None:
        return None, ()
    before = saved.made_from
    differing = [
        name
        for name in {**before, **made_from}
        if name not in before or name not in made_from or before[name] != made_from[name]
    ]
    if differing:
        return None, (
            f"Candidates were found anew: the saved ones have another "
            f"{', '.join(name.replace('_', ' ') for name in differing)}.",
        )
    return saved, ()


def _checked(
    found: Run, collection: Collection, *, top_k: int, source: str
) -> tuple[Run, tuple[str, ...]]:
    """Returns a run of exactly the collection's queries and passages, cut, and what was odd."""
    run: Run = {}
    unknown = _LeftOut()
    outside = _LeftOut()
    for query_id in collection.queries:
        scores = found.get(query_id, {})
        known = {key: score for key, score in scores.items() if key in collection.passages}
        unknown.add(query_id, scores, known)
        if collection.excludes_own_id:
            known.pop(query_id, None)
        if collection.pools is not None:
            pool = set(collection.pools[query_id])
            inside = {key: score for key, score in known.items() if key in pool}
            outside.add(query_id, known, inside)
            known = inside
        run[query_id] = {key: known[key] for key in ranked_ids(known)[:top_k]}
    others = [query_id for query_id in found if query_id not in collection.queries]
    if not any(run.values()):
        raise InputError(
            f"{source} gives no candidate for any of the {len(run):,} judged queries of "
            f"{collection.name!r}: it has {len(others):,} other queries, {unknown.count:,} "
            f"candidates that are no passage of the collection{unknown.first}, and "
            f"{outside.count:,} outside the pools of their queries{outside.first}.",
            hint="Is it of another dataset, or does it write ids in another way?",
        )
    notes = []
    if unknown.count:
        notes.append(
            f"{source}: {unknown.count:,} candidates are no passage of the collection and were "
            f"left out{unknown.first}."
        )
    if outside.count:
        notes.append(
            f"{source}: {outside.count:,} candidates lie outside the pools of their queries and "
            f"were left out{outside.first}."
        )
    empty = [query_id for query_id, scores in run.items() if not scores]
    if empty:
        notes.append(
            f"{source}: {len(empty):,} of {len(run):,} judged queries have no candidate and count "
            f"as 0{_named(empty)}."
        )
    if others:
        notes.append(
            f"{source}: {len(others):,} queries are not judged and were left out{_named(others)}."
        )
    return run, tuple(notes)


class _LeftOut:
    """Counts candidates that were left out.

    Attributes:
        count: How many.
        first: The first of them, as the end of a sentence.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, query_id: str, before: Sized[str], after: Sized[str]) -> None:
        """Takes note of what `before` has and `after` has not."""
        if len(after) == len(before):
            return
        if not self.count:
            first = next(key for key in before if key not in after)
            self.first = f" (the first is {first!r}, of query {query_id!r})"
        self.count += len(before) - len(after)


def _named(ids: Sized[str]) -> str:
    """Returns the first few ids as the end of a sentence."""
    if not ids:
        return ""
    few = ", ".join(repr(one) for one in list(ids)[:3])
    return f" ({few}{', ...' if len(ids) > 3 else ''})"


def _collection_hash(collection: Collection) -> str:
    """Returns a hash of all that candidates depend on: texts by id, and pools."""
    digest = TextHash()
    for texts in (collection.passages, collection.queries):
        digest.add_count(len(texts))
        for key in sorted(texts):
            digest.add(key)
            digest.add(texts[key])
    digest.add(repr(collection.excludes_own_id))
    for query_id, pool in sorted((collection.pools or {}).items()):
        digest.add(repr((query_id, pool)))
    return digest.hexdigest()
