"""docs/clients-tested.md, made of what the tests found, or compared with it.

usage: python -m tests_contract.table (--check | --write) FOLDER
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tests_contract.environments import MODULES

_PAGE = Path(__file__).parent.parent / "docs" / "clients-tested.md"
_CHECKS = {
    "ranking": "ranking",
    "path": "path",
    "top_n": "top_n",
    "documents": "documents",
    "wrong_key": "401",
    "overloaded": "429",
    "retry": "asks again",
}
"""Columns, by name of a test."""
_INTRODUCTION = """\
# Clients that were tested

<!-- Made by `scripts/test-clients --write`, which ran all of it. Do not edit. -->

Each of these clients, unmodified, asks a live `kalm serve` on loopback with the bundled model; only
its URL and key are set. `scripts/test-clients` runs the tests and fails if this page says anything
else than what it found. Not all of them install together: where a client's version is not the
newest, what it needs or what shares its environment holds it back (`tests_contract/environments/`).

What is tested, for each client that has it:

| column | test |
|---|---|
| ranking | two queries, with two and with five documents (one of them French, one with quotes and line breaks): the right documents first, and the scores of a plain `POST /rerank`, in [0, 1] |
| path | the path in the table is what was called |
| top_n | the best one, the best three |
| documents | texts that the answer holds are those of the request |
| 401 | what a wrong key raises |
| 429 | what a full server raises, once the client gave up |
| asks again | a server that is full for a moment is not noticed: the client waits and asks again |

A dash: the client has no such thing. `KeyError`, `TypeError` and `AssertionError` come from clients
that do not look at an answer's status.
"""
_HOW_TO = """\
## How to set up each

`URL` is the root of the server, such as `"http://127.0.0.1:8000"`; `KEY` is one of its keys, or any
text for a server without keys; `pico` is the name of the model that it serves. `documents` are texts, or
what the framework makes of them. These lines are what the tests run.
"""
_REST = """\
## What cannot be pointed here

langchain-community's JinaRerank has Jina's URL written into it. LiteLLM's `deepinfra/` calls a path
of DeepInfra's own.
"""


def main() -> int:
    """Runs the command and returns its status."""
    parser = argparse.ArgumentParser(prog="python -m tests_contract.table")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--check", action="store_true")
    choice.add_argument("--write", action="store_true")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    found = {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name in MODULES
        if (path := arguments.folder / f"{name}.json").is_file()
    }
    if arguments.write:
        if len(found) < len(MODULES):
            print(f"table: there are only results of {', '.join(found)}")
            return 1
        rows = [row for name in MODULES for row in found[name]]
        _PAGE.write_text(_page(rows), encoding="utf-8")
        return 0
    page = _PAGE.read_text(encoding="utf-8") if _PAGE.is_file() else ""
    missing = [
        line
        for rows in found.values()
        for row in rows
        for line in (_line(row), _how_to(row))
        if line not in page
    ]
    for line in missing:
        print(f"docs/clients-tested.md does not say:\n{line}")
    if missing:
        print("hint: scripts/test-clients --write writes it")
    return 1 if missing else 0


def _page(rows: list[dict[str, Any]]) -> str:
    head = ["client", "version", "path", *_CHECKS.values()]
    lines = [_INTRODUCTION, _row(head), _row(["---"] * len(head))]
    lines += [_line(row) for row in rows]
    lines += ["", _HOW_TO]
    lines += dict.fromkeys(_how_to(row) for row in rows)  # once, whatever versions there are
    lines += [_REST]
    return "\n".join(lines).rstrip() + "\n"


def _line(row: dict[str, Any]) -> str:
    version = f"{row['package']} {row['version']}" if row["package"] else "by its source"
    checks = [_outcome(row, name) for name in _CHECKS]
    return _row([row["name"], version, f"`{row['path']}`", *checks])


def _outcome(row: dict[str, Any], check: str) -> str:
    outcome = row["checks"].get(check)
    if outcome is None:
        return "-"
    if outcome != "passed":
        return f"**{outcome}**"
    raised = row["raises"].get(check)
    return "ok" if raised is None else f"`{raised}`"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _how_to(row: dict[str, Any]) -> str:
    lines = [f"**{row['name']}**: {row['note']}".rstrip(": ")]
    if row["settings"]:
        lines += ["", "```text", row["settings"], "```"]
    else:
        code = [row["imports"], row["setup"], f"answer = {row['call']}"]
        lines += ["", "```python", *filter(None, code), "```"]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
