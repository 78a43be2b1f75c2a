"""Examples of docs/serving.md: commands and what they print."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

DOC = Path(__file__).parents[2] / "docs" / "serving.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "localhost:8000"
# Scores in bfloat16 on another processor; margins move more.
_SCORE, _MARGIN = 0.02, 0.3


@dataclass(frozen=True)
class Example:
    """A command, what it prints, and where both are in the document."""

    command: str
    output: str


def examples():
    """All examples, in order: later ones build on earlier ones."""
    found = []
    for block in _BLOCK.findall(DOC.read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append(Example(command, output.strip()))
    return found


def run(command, address):
    """What a command prints, with the server at another address."""
    assert ADDRESS in command
    done = subprocess.run(
        ["bash", "-c", command.replace(ADDRESS, address)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def difference(told, seen, place="answer"):
    """Where two outputs differ by more than ids, times and rounding; None if they do not."""
    if isinstance(told, str) and isinstance(seen, str) and place == "answer":
        try:
            told, seen = json.loads(told), json.loads(seen)
        except ValueError:
            return None if told == seen else f"{seen!r} instead of {told!r}"
    name = place.rpartition(".")[2]
    if isinstance(told, dict) and isinstance(seen, dict):
        if told.keys() != seen.keys():
            return f"{place} has {sorted(seen)} instead of {sorted(told)}"
        pairs = [(f"{place}.{key}", told[key], seen[key]) for key in told]
    elif isinstance(told, list) and isinstance(seen, list):
        if len(told) != len(seen):
            return f"{place} has {len(seen)} elements instead of {len(told)}"
        pairs = [(place, *both) for both in zip(told, seen, strict=True)]
    elif name in ("created", "ms") or place == "answer.id":
        return None if type(told) is type(seen) else f"{place} is {seen!r}"
    elif isinstance(told, float) and isinstance(seen, float):
        near = abs(told - seen) <= (_SCORE if "score" in name else _MARGIN)
        return None if near else f"{place} is {seen} instead of {told}"
    else:
        return None if told == seen else f"{place} is {seen!r} instead of {told!r}"
    found = (difference(*both, inner) for inner, *both in pairs)
    return next((text for text in found if text is not None), None)
