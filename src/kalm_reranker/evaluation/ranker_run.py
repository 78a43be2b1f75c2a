"""One ranker over one dataset: scored in blocks, saved, and taken from there the next time."""

import json
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kalm_reranker import __version__
from kalm_reranker.errors import NonFiniteScoreError
from kalm_reranker.evaluation.partial_runs import PartialRun
from kalm_reranker.evaluation.rankers.base import Ranker, RankingTask
from kalm_reranker.evaluation.rankers.sentence_models import library_version
from kalm_reranker.evaluation.results import RankerInfo
from kalm_reranker.evaluation.saved_runs import (
    SavedRun,
    UnusableRunError,
    load_run,
    save_run,
)
from kalm_reranker.evaluation.text_hash import TextHash
from kalm_reranker.progress import progress_bar
from kalm_reranker.search.ranking import Run

_FORMAT = 1  # of what a run is made from; another number scores everything again


@dataclass(frozen=True, kw_only=True)
class RankerRun:
    """What a ranker made of a dataset.

    Attributes:
        run: Query id -> passage id -> score.
        bytes_per_passage: Mean bytes stored for a candidate; None where nothing is.
        ms_per_query: Median time of a query with candidates, as it was measured when it was
            scored; None where nothing was computed.
        seconds: Wall clock by step, of this process; empty where all was there.
        reused: Whether all was there.
        notes: What a reader of its numbers has to know.
    """

    run: Run
    bytes_per_passage: float | None
    ms_per_query: float | None
    seconds: dict[str, float]
    reused: bool
    notes: tuple[str, ...] = ()


def run_ranker(
    ranker: Ranker,
    task: RankingTask,
    folder: Path,
    stem: str,
    *,
    task_hash: str,
    show_progress: bool | None = None,
) -> RankerRun:
    """Returns a ranker's scores of all candidates.

    A finished run is saved as `<stem>.trec.gz`, an unfinished one goes on where it stopped. Either
    is used only if the ranker, its settings, texts and candidates are the same.

    Args:
        ranker: Not prepared yet; it is, if there is something to score.
        task: The dataset.
        folder: Where runs of this dataset are kept.
        stem: Name of the ranker's files.
        task_hash: Of the task, from `hash_of_task`.
        show_progress: None shows a progress bar on a terminal.

    Raises:
        NonFiniteScoreError: The ranker gave a score that is no finite number.
        DataFileError: The folder cannot be written.
    """
    made_from = run_made_from(ranker.info, task_hash)
    saved = usable_run(folder, stem, made_from)
    if saved is not None:
        return RankerRun(
            run=saved.for_queries(task.candidates),
            bytes_per_passage=saved.extra.get("bytes_per_passage"),
            ms_per_query=saved.extra.get("ms_per_query"),
            seconds={},
            reused=True,
            notes=saved.notes,
        )
    start = time.perf_counter()
    ranker.prepare(task)
    prepared = time.perf_counter()
    with PartialRun(folder / f"{stem}.part.jsonl", made_from) as partial:
        _score_missing(ranker, task, partial, show_progress)
        seconds = {
            "prepare": prepared - start,
            "score": time.perf_counter() - prepared,
        }
        times = [partial.seconds[query_id] for query_id, ids in task.candidates.items() if ids]
    run = {query_id: partial.run[query_id] for query_id in task.candidates}
    extra = {
        "bytes_per_passage": ranker.bytes_per_passage(),
        # Looking up what somebody else scored says nothing about time.
        "ms_per_query": 1e3 * statistics.median(times)
        if times and ranker.info.kind != "run"
        else None,
    }
    save_run(
        folder,
        stem,
        SavedRun(
            run=run,
            made_from=made_from,
            description=ranker.info.name,
            notes=ranker.notes,
            extra=extra,
        ),
    )
    partial.discard()
    return RankerRun(run=run, **extra, seconds=seconds, reused=False, notes=ranker.notes)


def save_derived(folder: Path, stem: str, info: RankerInfo, run: Run, task_hash: str) -> None:
    """Saves a run that follows from others; leaves the same one alone."""
    made_from = run_made_from(info, task_hash)
    found = usable_run(folder, stem, made_from)
    if found is None or found.run != {
        query_id: scores for query_id, scores in run.items() if scores
    }:
        save_run(
            folder,
            stem,
            SavedRun(run=run, made_from=made_from, description=info.name, notes=(), extra={}),
        )


def usable_run(folder: Path, stem: str, made_from: Mapping[str, Any]) -> SavedRun | None:
    """Returns a saved run if it is whole and made from the same; None otherwise."""
    try:
        saved = load_run(folder, stem)
    except UnusableRunError:
        return None
    return saved if saved is not None and saved.made_from == made_from else None


def run_made_from(info: RankerInfo, task_hash: str) -> dict[str, Any]:
    """Returns all that a run depends on, as JSON holds it.

    Other versions of this package or of PyTorch may compute other scores; states have versions of
    their own, and are not encoded again for that.
    """
    made_from = {
        "format": _FORMAT,
        "ranker": asdict(info),
        "task": task_hash,
        "kalm_reranker": __version__,
        "torch": library_version("torch"),
    }
    as_json: dict[str, Any] = json.loads(json.dumps(made_from))  # tuples become lists
    return as_json


def hash_of_task(task: RankingTask) -> str:
    """Returns a hash of instruction, queries, candidates in order, and the candidates' texts."""
    digest = TextHash()
    digest.add("" if task.instruction is None else f"instruction {task.instruction}")
    seen = set()
    for query_id, candidates in task.candidates.items():
        digest.add(query_id)
        digest.add(task.queries[query_id])
        digest.add(task.query_instructions.get(query_id, ""))
        digest.add_count(len(candidates))
        for passage_id, score in candidates.items():
            digest.add(passage_id)
            digest.add(repr(score))
            if passage_id not in seen:
                seen.add(passage_id)
                digest.add(task.passages[passage_id])
    return digest.hexdigest()


def _score_missing(
    ranker: Ranker, task: RankingTask, partial: PartialRun, show_progress: bool | None
) -> None:
    left = [
        query_id
        for query_id, candidates in task.candidates.items()
        if query_id not in partial.run or partial.run[query_id].keys() != candidates.keys()
    ]
    with progress_bar(
        sum(len(task.candidates[query_id]) for query_id in left),
        label=f"{task.dataset}: {ranker.info.name}",
        unit="pairs",
        show=show_progress,
    ) as advance:
        for query_id in left:
            ids = list(task.candidates[query_id])
            start = time.perf_counter()
            scores = ranker.score(query_id, task.queries[query_id], ids) if ids else {}
            seconds = time.perf_counter() - start
            checked = _checked(scores, ids, query_id, ranker.info.name)
            partial.add(query_id, checked, seconds)
            advance(len(ids))


def _checked(
    scores: Mapping[str, float], ids: list[str], query_id: str, name: str
) -> dict[str, float]:
    """Returns the scores of exactly the candidates, as Python's floats."""
    checked = {passage_id: float(scores[passage_id]) for passage_id in ids}
    for passage_id, score in checked.items():
        if not math.isfinite(score):
            raise NonFiniteScoreError(
                f"{name} gave {score!r} to passage {passage_id!r} of query {query_id!r}; a ranking "
                "needs finite numbers.",
                hint="Run it in float32.",
            )
    return checked
