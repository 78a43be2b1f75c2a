"""Predictions that mteb saved (`prediction_folder`), as a run.

    {"mteb_model_meta": {"model_name": ..., "revision": ...},
     "default": {"test": {"q1": {"doc7": 12.5, ...}, ...}}}        subset, split, query, passage

in a file `<task>_predictions.json` for each task.
"""

import json
import math
from pathlib import Path
from typing import Any

from kalm_reranker.errors import DataFileError, shown
from kalm_reranker.lines import reading
from kalm_reranker.search.ranking import Run

_SUFFIX = "_predictions.json"
_META = "mteb_model_meta"


def read_mteb_predictions(
    path: Path, *, task: str | None = None, subset: str = "default", split: str = "test"
) -> Run:
    """Returns the predictions of one task, subset and split.

    Args:
        path: A file of predictions, or a folder of them.
        task: Name of the task as mteb writes it, to choose a file of the folder; not needed where
            the folder holds one only.
        subset: mteb's subset, for example a language; "default" for tasks without any.
        split: mteb's split.

    Raises:
        DataFileError: There is no such file, it does not hold this subset and split, or is
            not what mteb writes; the message names the file.
    """
    file = _file(path, task)
    name = str(file)
    document = _object(_json(file, name), name, "an object of subsets")
    subsets = {key: value for key, value in document.items() if key != _META}
    splits = _object(_chosen(subsets, subset, name, "subset"), name, f"splits of {subset!r}")
    where = f"{name}, {subset}, {split}"
    queries = _object(_chosen(splits, split, name, "split"), where, "an object of queries")
    return {
        query_id: {
            passage_id: _score(score, f"{where}, query {query_id!r}, passage {passage_id!r}")
            for passage_id, score in _object(
                found, f"{where}, query {query_id!r}", "scores"
            ).items()
        }
        for query_id, found in queries.items()
    }


def _file(path: Path, task: str | None) -> Path:
    """Returns the file of a task in a folder, or the path itself."""
    if not path.is_dir():
        return path
    if task is not None:
        file = path / f"{task}{_SUFFIX}"
        if file.is_file():
            return file
    files = sorted(path.glob(f"*{_SUFFIX}"))
    tasks = [file.name.removesuffix(_SUFFIX) for file in files]
    if task is not None:
        raise DataFileError(
            f"{path} holds no predictions of task {task!r}; it should be {task}{_SUFFIX}.",
            hint=f"Tasks in it: {', '.join(tasks) or 'none'}.",
        )
    if len(files) != 1:
        raise DataFileError(
            f"{path} must hold predictions of one task where none is named; got {len(files)}.",
            hint=f"Tasks in it: {', '.join(tasks)}."
            if tasks
            else "mteb writes them with prediction_folder=...; files end in _predictions.json.",
        )
    return files[0]


def _json(file: Path, name: str) -> object:
    with reading(name):
        content = file.read_bytes()
    try:
        return json.loads(content)
    except UnicodeDecodeError as error:
        raise DataFileError(f"{name}: expected UTF-8 text; got something else.") from error
    except json.JSONDecodeError as error:
        raise DataFileError(
            f"{name}: expected one JSON object; {error.msg} at line {error.lineno}, column "
            f"{error.colno}.",
            hint="The file may have been cut off; have mteb write it again.",
        ) from error
    except (ValueError, RecursionError) as error:  # endless digits, endless nesting
        raise DataFileError(f"{name}: cannot be read as JSON: {error}.") from error


def _object(value: object, where: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataFileError(
            f"{where}: expected {what}; got {shown(value)}.",
            hint="Only predictions of retrieval and reranking tasks are runs.",
        )
    return value


def _chosen(values: dict[str, Any], key: str, name: str, what: str) -> object:
    if key not in values:
        raise DataFileError(
            f"{name} holds no {what} {key!r}.",
            hint=f"In it: {', '.join(values) or 'none'}.",
        )
    return values[key]


def _score(value: object, where: str) -> float:
    # bool is a number to Python; as a score it is a mistake.
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    try:
        score = float(number)
    except OverflowError:
        score = math.inf
    if not math.isfinite(score):
        raise DataFileError(
            f"{where}: expected a finite number as score; got {shown(value)}.",
            hint="Look for the step that produced it.",
        )
    return score
