"""Times of our rankers on a dataset, measured once and kept with what they were measured on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kalm_reranker.evaluation.line_up import LineUp
from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.timing import (
    TimedCall,
    cascade_call,
    circumstances,
    median_ms,
    stored_call,
    time_in_turns,
)
from kalm_reranker.progress import progress_bar
from kalm_reranker.whole_files import write_whole


def kept_times(
    path: Path,
    line_up: LineUp,
    task: RankingTask,
    task_hash: str,
    num_queries: int,
    *,
    show_progress: bool | None = None,
) -> dict[str, float]:
    """Returns the median milliseconds of a query from stored states, of our rankers and cascades.

    All are measured in turns, so that their ratios hold even where the machine is shared. One that
    is missing from what was kept has all measured again.

    Args:
        path: Where they are kept.
        line_up: The rankers.
        task: The dataset.
        task_hash: From `hash_of_task`.
        num_queries: Queries to measure on; 0 for none.
        show_progress: None shows a progress bar on a terminal.

    Returns:
        Name of the ranker -> milliseconds; nothing for peers, or where nothing is wanted.

    Raises:
        DataFileError: They cannot be kept.
    """
    calls = _calls(line_up)
    if not calls or not num_queries:
        return {}
    settings = {info.name: info.settings for info in line_up.infos if info.name in calls}
    made_from = json.loads(
        json.dumps(
            {
                "task": task_hash,
                "queries": num_queries,
                "rankers": settings,
                **circumstances(),
            }
        )
    )
    kept = _read(path, made_from)
    if kept is not None:
        return kept
    for model in line_up.models:
        model.prepare(task)
    with progress_bar(
        min(num_queries, len(task.candidates)) + 1,
        label=f"{task.dataset}: timing",
        unit="queries",
        show=show_progress,
    ) as advance:
        seconds = time_in_turns(calls, task, num_queries, on_query=advance)
    found = {name: ms for name, one in seconds.items() if (ms := median_ms(one)) is not None}
    document = {"made_from": made_from, "ms_per_query": found}
    write_whole(path, (json.dumps(document, indent=1) + "\n").encode())
    return found


def _calls(line_up: LineUp) -> dict[str, TimedCall]:
    calls: dict[str, TimedCall] = {}
    for model in line_up.models:
        for ranker in line_up.kalm_rankers(model):
            calls[ranker.info.name] = stored_call(ranker)
    for cascade in line_up.cascades:
        assert cascade.info.fine_count is not None
        calls[cascade.info.name] = cascade_call(
            cascade.coarse, cascade.fine, cascade.info.fine_count
        )
    return calls


def _read(path: Path, made_from: Mapping[str, Any]) -> dict[str, float] | None:
    try:
        document = json.loads(path.read_bytes())
        before = document["made_from"]
        # Fewer rankers than before: what is there serves.
        wanted = made_from["rankers"]
        there = {name: before["rankers"].get(name) for name in wanted}
        if {**before, "rankers": there} != made_from:
            return None
        return {str(name): float(document["ms_per_query"][name]) for name in wanted}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # measured again
