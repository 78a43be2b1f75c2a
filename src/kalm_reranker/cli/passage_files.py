"""Passages from a file or standard input: JSON lines, or one passage a line."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kalm_reranker.errors import DataFileError
from kalm_reranker.evaluation.lines import decoded_lines, numbered_lines

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
        lines = list(decoded_lines(sys.stdin.buffer, "standard input"))
        as_json = bool(lines) and lines[0][1].lstrip().startswith("{")
        name = "standard input"
    else:
        path = Path(source)
        lines = list(numbered_lines(path))
        suffixes = path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]
        as_json = bool(_JSON_SUFFIXES & set(suffixes))
        name = source
    if as_json:
        return list(_passages_from_json(lines, name))
    return [Passage(line) for _, line in lines]


def _passages_from_json(lines: list[tuple[int, str]], name: str) -> Iterator[Passage]:
    for number, line in lines:
        where = f"{name}, line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataFileError(
                f"{where}: expected a JSON object; {error}.",
                hint="Write one object per line, or name the file .txt for one passage per line.",
            ) from error
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise DataFileError(
                f'{where}: expected an object with a string "text"; got {line[:80]!r}.',
            )
        title = record.get("title") or ""
        if not isinstance(title, str):
            raise DataFileError(f'{where}: "title" must be a string; got {title!r}.')
        identifier = record.get("id", record.get("_id"))
        yield Passage(
            f"{title} {record['text']}".strip(), None if identifier is None else str(identifier)
        )
