"""Candidates on disk: a run and what it was made from, saved whole or not at all.

candidates.trec.gz     the run; candidates.jsonl.gz where an id holds white space
candidates.json        what it was made from, and the hash of the run's file

Queries without candidates are in neither form.
"""

import gzip
import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from kalm_reranker.errors import DataFileError, InputError
from kalm_reranker.lines import json_object, numbered_lines
from kalm_reranker.search.ranking import Run, ranked_ids
from kalm_reranker.search.run_files import check_word, read_trec_run, write_trec_run

FORMAT = 1
RECORD_FILE = "candidates.json"
_TREC_FILE = "candidates.trec.gz"
_JSON_FILE = "candidates.jsonl.gz"


@dataclass(frozen=True, kw_only=True)
class SavedCandidates:
    """Candidates as they lie in a folder.

    Attributes:
        run: Query id -> passage id -> score; queries without candidates are not in it.
        made_from: All that the run depends on, as JSON holds it.
        description: How candidates were found, in words.
        notes: What a reader of the numbers has to know.
    """

    run: Run
    made_from: dict[str, Any]
    description: str
    notes: tuple[str, ...]


class UnusableCandidatesError(Exception):
    """What a folder holds cannot be used again; the message says why. Never leaves this room."""


def load_candidates(folder: Path) -> SavedCandidates | None:
    """Returns the candidates in a folder, or None where none were saved.

    Raises:
        UnusableCandidatesError: Something is there, but not what was written.
    """
    try:
        record = json.loads((folder / RECORD_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UnusableCandidatesError(f"{RECORD_FILE} cannot be read") from error
    try:
        if record["format"] != FORMAT:
            raise UnusableCandidatesError(f"{RECORD_FILE} is of another version")
        name = record["file"]
        path = folder / {_TREC_FILE: _TREC_FILE, _JSON_FILE: _JSON_FILE}[name]
        if hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
            raise UnusableCandidatesError(f"{name} is not what was written")
        run = read_trec_run(path) if name == _TREC_FILE else _read_json_lines(path)
        return SavedCandidates(
            run=run,
            made_from=dict(record["made_from"]),
            description=str(record["description"]),
            notes=tuple(map(str, record["notes"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnusableCandidatesError(f"{RECORD_FILE} misses what it should hold") from error
    except OSError as error:
        raise UnusableCandidatesError(f"the run beside {RECORD_FILE} cannot be read") from error


def save_candidates(folder: Path, saved: SavedCandidates) -> None:
    """Writes candidates into a folder, which is made where it is missing.

    The record comes last and names the hash of the run, so that after a crash the folder holds
    either these candidates or none.

    Raises:
        InputError: A score is not finite.
        DataFileError: The folder cannot be written.
    """
    _check_scores(saved.run)
    name = _TREC_FILE if _fits_trec(saved.run) else _JSON_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _Replaced(folder / name) as temporary:
            _write_run(saved.run, temporary, as_trec=name == _TREC_FILE)
            digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        record = {
            "format": FORMAT,
            "made_from": saved.made_from,
            "description": saved.description,
            "notes": list(saved.notes),
            "file": name,
            "sha256": digest,
        }
        with _Replaced(folder / RECORD_FILE) as temporary:
            temporary.write_text(
                json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        other = _JSON_FILE if name == _TREC_FILE else _TREC_FILE
        (folder / other).unlink(missing_ok=True)  # of an earlier evaluation
    except OSError as error:
        raise DataFileError(
            f"{folder} cannot be written: {error.strerror or error}.",
            hint="Check the path, its permissions and the free space.",
        ) from error


class _Replaced:
    """A file beside another that takes its place when all went well, and is removed if not.

    Args:
        path: The file to replace.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Of this process alone: two evaluations may save into the same folder.
        self._temporary = path.with_name(f".{os.getpid()}.{path.name}")

    def __enter__(self) -> Path:
        return self._temporary

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                with self._temporary.open("rb") as file:
                    os.fsync(file.fileno())
                os.replace(self._temporary, self._path)
        finally:
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)


def _write_run(run: Run, path: Path, *, as_trec: bool) -> None:
    # No time and no name in the gzip header: the same candidates give the same bytes.
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        TextIOWrapper(packed, encoding="utf-8", newline="\n") as file,
    ):
        if as_trec:
            write_trec_run(run, file, "candidates")
            return
        for query_id, scores in run.items():
            found = {passage_id: scores[passage_id] for passage_id in ranked_ids(scores)}
            file.write(json.dumps({"query_id": query_id, "scores": found}) + "\n")


def _read_json_lines(path: Path) -> Run:
    run: Run = {}
    for number, line in numbered_lines(path):
        record = json_object(line, f"{path}, line {number}")
        run[record["query_id"]] = {key: float(score) for key, score in record["scores"].items()}
    return run


def _fits_trec(run: Mapping[str, Mapping[str, float]]) -> bool:
    try:
        for query_id, scores in run.items():
            check_word(query_id, "query id")
            for passage_id in scores:
                check_word(passage_id, "passage id")
    except InputError:
        return False
    return True


def _check_scores(run: Run) -> None:
    for query_id, scores in run.items():
        for passage_id, score in scores.items():
            if not math.isfinite(score):
                raise InputError(
                    f"score of passage {passage_id!r} for query {query_id!r} must be a finite "
                    f"number; got {score!r}.",
                    hint="Look for the step that produced it.",
                )
