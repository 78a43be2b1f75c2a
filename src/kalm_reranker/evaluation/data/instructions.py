"""Task instructions: what a ranker is told about a task, kept as data with the source of each.

    {"instructions": [
        {"task": "SciFact", "instruction": "...", "source": "..."},
        {"task": "LoCoMo", "subset": "multi_hop", "instruction": "...", "source": "..."}
    ]}

The same form is read from a user's file, where `source` may be left out. An `about` beside the list
is for readers.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from kalm_reranker.errors import DataFileError, shown
from kalm_reranker.lines import reading

_EXAMPLE = '{"instructions": [{"task": "SciFact", "instruction": "Given a claim, ..."}]}'
_FIELDS = ("task", "subset", "instruction", "source")


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """What a ranker is told about a task.

    Attributes:
        task: As mteb calls it, or a dataset's name.
        subset: The subset it is for; None for all of the task. A subset `scenario__kind` also
            takes the instruction of `kind`, which is how LMEB keeps them.
        text: The instruction.
        source: Where it was published.
    """

    task: str
    subset: str | None
    text: str
    source: str


class Instructions:
    """Instructions by task and subset; case is ignored.

    Args:
        instructions: No two of one task and subset.
    """

    def __init__(self, instructions: Iterable[Instruction]) -> None:
        self._by_task = {_key(one.task, one.subset): one for one in instructions}

    def __len__(self) -> int:
        return len(self._by_task)

    def find(self, task: str, subset: str | None = None) -> Instruction | None:
        """Returns the instruction of a subset, else of its kind, else of its task, else None."""
        subsets = [None] if subset is None else [subset, subset.split("__")[-1], None]
        for one in subsets:
            found = self._by_task.get(_key(task, one))
            if found is not None:
                return found
        return None


@cache
def published_instructions(benchmark: str) -> Instructions:
    """Returns the bundled instructions of `beir`, `miracl` or `lmeb`."""
    folder = files("kalm_reranker") / "data" / "instructions"
    with as_file(folder / f"{benchmark}.json") as path:
        return read_instructions(path)


def read_instructions(path: str | Path) -> Instructions:
    """Returns the instructions of a file.

    Raises:
        DataFileError: It cannot be read or is not in the form above; the message names the entry.
    """
    path = Path(path)
    try:
        with reading(str(path)):
            document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataFileError(
            f"{path}, line {error.lineno}: expected JSON; {error.msg} at column {error.colno}.",
            hint=f"Write {_EXAMPLE}.",
        ) from error
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{path}: expected UTF-8 text; byte {error.start} is not.",
            hint="Convert the file to UTF-8.",
        ) from error
    except (ValueError, RecursionError) as error:  # endless digits, endless nesting
        raise DataFileError(f"{path}: cannot be read as JSON: {error}.") from error
    entries = document.get("instructions") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise DataFileError(
            f'{path}: expected an object with a list "instructions"; got {shown(document)}.',
            hint=f"Write {_EXAMPLE}.",
        )
    unknown = [key for key in document if key not in ("about", "instructions")]
    if unknown:
        raise DataFileError(
            f'{path}: expected only "instructions" (and "about"); got {shown(unknown[0])}.',
            hint=f"Write {_EXAMPLE}.",
        )
    found: dict[tuple[str, str | None], int] = {}
    instructions = []
    for number, entry in enumerate(entries, start=1):
        where = f"{path}, instruction {number}"
        instruction = _instruction(entry, where, source=path.name)
        key = _key(instruction.task, instruction.subset)
        if key in found:
            raise DataFileError(
                f"{where}: expected one instruction for each task and subset; {instruction.task!r} "
                f"{instruction.subset or ''} is also instruction {found[key]}.",
                hint="Keep the one that is right.",
            )
        found[key] = number
        instructions.append(instruction)
    return Instructions(instructions)


def _instruction(entry: Any, where: str, *, source: str) -> Instruction:  # noqa: ANN401
    if not isinstance(entry, dict):
        raise DataFileError(
            f"{where}: expected an object; got {shown(entry)}.", hint=f"Write {_EXAMPLE}."
        )
    unknown = [key for key in entry if key not in _FIELDS]
    if unknown:
        raise DataFileError(
            f"{where}: expected {', '.join(_FIELDS)}; got {shown(unknown[0])}.",
            hint=f"Write {_EXAMPLE}.",
        )
    for field in _FIELDS:
        value = entry.get(field)
        is_needed = field in ("task", "instruction")
        if (value is None and is_needed) or (
            value is not None and not (isinstance(value, str) and value.strip())
        ):
            got = shown(value) if field in entry else "no such field"
            raise DataFileError(
                f'{where}: expected a text in "{field}"; got {got}.', hint=f"Write {_EXAMPLE}."
            )
    return Instruction(
        task=entry["task"],
        subset=entry.get("subset"),
        text=entry["instruction"],
        source=entry.get("source") or source,
    )


def _key(task: str, subset: str | None) -> tuple[str, str | None]:
    return task.casefold(), None if subset is None else subset.casefold()
