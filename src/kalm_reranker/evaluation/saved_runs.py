"""Runs on disk with what they were made from, each saved whole or not at all.

<name>.trec.gz     the run; <name>.jsonl.gz where an id is no word of UTF-8
<name>.json        what it was made from, and the hash of the run's file

Candidates of a first stage and scores of rankers are kept alike. Queries without candidates are in
neither form.
"""

import gzip
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

from kalm_reranker.errors import InputError
from kalm_reranker.lines import json_object, numbered_lines
from kalm_reranker.search.ranking import Run, ranked_ids
from kalm_reranker.search.run_files import check_word, read_trec_run, write_trec_run
from kalm_reranker.whole_files import write_whole

FORMAT = 1
_TREC, _JSON_LINES = ".trec.gz", ".jsonl.gz"


@dataclass(frozen=True, kw_only=True)
class SavedRun:
    """A run as it lies in a folder.

    Attributes:
        run: Query id -> passage id -> score; queries without candidates are not in it.
        made_from: All that the run depends on, as JSON holds it.
        description: What made it, in words.
        notes: What a reader of the numbers has to know.
        extra: What else is to be kept with it, as JSON holds it.
    """

    run: Run
    made_from: dict[str, Any]
    description: str
    notes: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def for_queries(self, query_ids: Iterable[str]) -> Run:
        """Returns the run with all of these queries, in order, without scores where it has none."""
        return {query_id: self.run.get(query_id, {}) for query_id in query_ids}


class UnusableRunError(Exception):
    """What a folder holds cannot be used again; the message says why. Never leaves this room."""


def load_run(folder: Path, name: str) -> SavedRun | None:
    """Returns the run of this name in a folder, or None where none was saved.

    Raises:
        UnusableRunError: Something is there, but not what was written.
    """
    record_file = f"{name}.json"
    try:
        record = json.loads((folder / record_file).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UnusableRunError(f"{record_file} cannot be read") from error
    try:
        if record["format"] != FORMAT:
            raise UnusableRunError(f"{record_file} is of another version")
        form = {_TREC: _TREC, _JSON_LINES: _JSON_LINES}[record["form"]]
        path = folder / f"{name}{form}"
        if hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
            raise UnusableRunError(f"{path.name} is not what was written")
        run = read_trec_run(path) if form == _TREC else _read_json_lines(path)
        return SavedRun(
            run=run,
            made_from=dict(record["made_from"]),
            description=str(record["description"]),
            notes=tuple(map(str, record["notes"])),
            extra=dict(record["extra"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnusableRunError(f"{record_file} misses what it should hold") from error
    except OSError as error:
        raise UnusableRunError(f"the run beside {record_file} cannot be read") from error


def save_run(folder: Path, name: str, saved: SavedRun) -> None:
    """Writes a run into a folder, which is made where it is missing.

    The record comes last and names the hash of the run, so that after a crash the folder holds
    either this run or none of this name.

    Raises:
        InputError: A score is not finite.
        DataFileError: The folder cannot be written.
    """
    _check_scores(saved.run)
    form = _TREC if _fits_trec(saved.run) else _JSON_LINES
    packed = _packed(saved.run, name if form == _TREC else None)
    record = {
        "format": FORMAT,
        "made_from": saved.made_from,
        "description": saved.description,
        "notes": list(saved.notes),
        "extra": saved.extra,
        "form": form,
        "sha256": hashlib.sha256(packed).hexdigest(),
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    write_whole(folder / f"{name}{form}", packed)
    # Paths of another encoding may stand in it, with halves of characters.
    write_whole(folder / f"{name}.json", text.encode("utf-8", "surrogatepass"))
    with suppress(OSError):  # of an earlier evaluation; the record says which one counts
        (folder / f"{name}{_JSON_LINES if form == _TREC else _TREC}").unlink(missing_ok=True)


def _packed(run: Run, tag: str | None) -> bytes:
    """Returns a run gzipped: in the TREC form, or as JSON lines where there is no tag."""
    raw = BytesIO()
    # No time in the gzip header: the same run gives the same bytes.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        TextIOWrapper(packed, encoding="utf-8", newline="\n") as file,
    ):
        if tag is not None:
            write_trec_run(run, file, tag)
        else:
            for query_id, scores in run.items():
                if scores:
                    found = {passage_id: scores[passage_id] for passage_id in ranked_ids(scores)}
                    file.write(json.dumps({"query_id": query_id, "scores": found}) + "\n")
    return raw.getvalue()


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
            " ".join([query_id, *scores]).encode()
    except (InputError, UnicodeEncodeError):  # halves of characters
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
