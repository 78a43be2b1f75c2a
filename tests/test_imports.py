"""Imports point one way, as docs/architecture.md says."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "kalm_reranker"
LEAVES = {
    *("errors", "prompts", "scoring", "options", "stats", "progress", "lines", "extras"),
    *("analytic_cost", "whole_files"),
}
BELOW = {
    "model": {"options"},
    "checkpoints": {"prompts"},
    "encoding": {"model", "prompts", "options"},
    "engine": {"encoding", "model", "scoring", "stats", "progress", "options"},
    "reranker": {"engine", "encoding", "model", "checkpoints", "calibration", *LEAVES},
    "store": {"encoding", "model", "options"},
    "search": {
        *("store", "reranker", "checkpoints", "model"),
        *("options", "extras", "lines", "progress", "scoring"),
    },
    "index": {
        *("search", "store", "reranker", "encoding", "checkpoints", "model"),
        *("options", "extras", "lines", "calibration", "__version__"),
    },
    "machine": {"__version__"},
    "bench": {
        *("reranker", "engine", "encoding", "model", "checkpoints"),
        *("prompts", "options", "extras", "progress", "machine", "analytic_cost", "__version__"),
    },
    "evaluation": {
        *("index", "search", "store", "reranker", "encoding", "checkpoints", "model", "scoring"),
        *("calibration", "options", "progress", "lines", "extras", "machine", "analytic_cost"),
        *("whole_files", "__version__"),
    },
    "calibration": {"scoring", "whole_files"},
    "batching": {"engine", "encoding", "model"},
    "server": {
        *("batching", "index", "search", "store", "reranker", "engine", "encoding", "model"),
        *("checkpoints", "scoring", "calibration", "options", "extras", "stats", "prompts"),
        *("machine", "__version__"),
    },
    "client": {"encoding", "options", "scoring", "extras", "__version__"},
    "integrations": {
        "evaluation",
        "search",
        "reranker",
        "index",
        "checkpoints",
        "extras",
        "options",
        "progress",
    },
}


def rooms_imported_by(path: Path) -> set[str]:
    """First-level parts of this package that a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "kalm_reranker":
                names = [f"kalm_reranker.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("kalm_reranker.")}
    return found


@pytest.mark.parametrize("room", [*sorted(LEAVES), *BELOW])
def test_a_room_imports_only_what_lies_below_it(room):
    folder = PACKAGE / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{room}.py"]
    assert files
    allowed = {room, "errors", *BELOW.get(room, set())}
    for path in files:
        assert rooms_imported_by(path) <= allowed, path.relative_to(PACKAGE)


def test_nothing_inside_imports_the_benchmark():
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] not in ("bench", "cli"):
            assert "bench" not in rooms_imported_by(path), path.name


def test_nothing_inside_imports_the_integrations():
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] not in ("integrations", "cli"):
            assert "integrations" not in rooms_imported_by(path), path.name


@pytest.mark.parametrize("edge", ["server", "client"])
def test_nothing_inside_imports_server_or_client(edge):
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] not in (edge, "cli", "__init__.py"):
            assert edge not in rooms_imported_by(path), path.name


def test_nothing_inside_imports_the_command_line():
    for path in PACKAGE.rglob("*.py"):
        if "cli" not in path.relative_to(PACKAGE).parts:
            assert "cli" not in rooms_imported_by(path), path.name
