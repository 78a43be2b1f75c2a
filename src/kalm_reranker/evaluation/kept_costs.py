"""Online costs on a dataset, measured once and kept with what they were measured on."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kalm_reranker.evaluation.cost import online_costs
from kalm_reranker.evaluation.line_up import LineUp
from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.results import OnlineCost
from kalm_reranker.evaluation.timing import circumstances
from kalm_reranker.whole_files import write_whole


def kept_costs(
    path: Path,
    line_up: LineUp,
    task: RankingTask,
    task_hash: str,
    num_queries: int,
    *,
    say: Callable[[str], None],
) -> tuple[OnlineCost, ...]:
    """Returns the online costs of each of our models at each of its ratios.

    Args:
        path: Where they are kept.
        line_up: The rankers.
        task: The dataset.
        task_hash: From `hash_of_task`.
        num_queries: Queries to time.
        say: Takes a line about what is being done.

    Raises:
        DataFileError: They cannot be kept.
    """
    made_from = {
        "task": task_hash,
        "queries": num_queries,
        "models": [
            {"name": model.name, "ratios": model.ratios, "settings": model.settings}
            for model in line_up.models
        ],
        **circumstances(),
    }
    made_from = json.loads(json.dumps(made_from))
    kept = _read(path, made_from)
    if kept is not None:
        return kept
    rows: list[OnlineCost] = []
    for model in line_up.models:
        model.prepare(task)
        say(f"timing {model.name}: stored, prefix cached, encoded")
        rows += online_costs(model, num_queries)
    document = {"made_from": made_from, "costs": [asdict(row) for row in rows]}
    write_whole(path, (json.dumps(document, indent=1) + "\n").encode())
    return tuple(rows)


def _read(path: Path, made_from: dict[str, Any]) -> tuple[OnlineCost, ...] | None:
    try:
        document = json.loads(path.read_bytes())
        if document["made_from"] != made_from:
            return None
        return tuple(OnlineCost(**row) for row in document["costs"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # measured again
