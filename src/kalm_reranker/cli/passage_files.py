"""Passages from a file or standard input: JSON lines, or one passage a line."""

import sys
from dataclasses import dataclass
from pathlib import Path

from kalm_reranker.encoding.texts import check_text
from kalm_reranker.errors import DataFileError, shown
from kalm_reranker.lines import decoded_lines, json_object, numbered_lines

_JSON_SUFFIXES = {".jsonl", ".ndjson"}
_STDIN = "-"


@dataclass(frozen=True)
class Passage:
    """A passage to rank: its text (title in front, if it has one) and its id, if it has one."""

    text: str
    id: str | None = None


def read_passages(source: str) -> list[Passage]:
    """Reads passages from a file, or from standard input if `source` is "-".

    A `.jsonl` or `.ndjson` file (also gzipped) holds one JSON object per line with `text`, and
    optionally `title` and `id` (or `_id`); any other file holds one passage per line. Standard
    input is taken as JSON lines if its first line starts with "{". Empty lines are left out.

    Raises:
        DataFileError: The file cannot be read, or a line is not what it should be; the message
            names the line.
    """
    if source == _STDIN:
        if sys.stdin is None:
            raise DataFileError("standard input is closed.", hint="Name a file instead of -.")
        name = "standard input"
        lines = list(decoded_lines(sys.stdin.buffer, name))
        as_json = bool(lines) and lines[0][1].lstrip().startswith("{")
    else:
        name = source
        as_json = _holds_json_lines(Path(source))
        lines = list(numbered_lines(Path(source)))
    if as_json:
        return [_passage_from_json(line, f"{name}, line {number}") for number, line in lines]
    return [Passage(line) for _, line in lines]


def _holds_json_lines(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    if suffixes[-1:] == [".json"]:
        raise DataFileError(
            f"{path}: a JSON document is not read line by line.",
            hint="Write one object per line and name the file .jsonl.",
        )
    return bool(suffixes) and suffixes[-1] in _JSON_SUFFIXES


def _passage_from_json(line: str, where: str) -> Passage:
    record = json_object(line, where)
    given = {field: record.get(field) for field in ("title", "text")}
    fields = {field: "" if value is None else value for field, value in given.items()}
    for field, value in fields.items():
        if not isinstance(value, str):
            raise DataFileError(f'{where}: "{field}" must be a string; got {shown(value)}.')
    if "text" not in record:
        raise DataFileError(
            f'{where}: expected an object with a string "text"; got {shown(line)}.',
        )
    # The first of the two that says something; 0 is an id.
    ids = [record[key] for key in ("id", "_id") if record.get(key) is not None]
    if ids and not isinstance(ids[0], str | int):
        raise DataFileError(f'{where}: "id" must be a string or a number; got {shown(ids[0])}.')
    identifier = check_text(str(ids[0]), f'{where}: "id"') if ids else None
    return Passage(f"{fields['title']} {fields['text']}".strip(), identifier)
