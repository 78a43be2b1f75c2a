"""The files below a folder, in a stable order, through links but never in circles."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from kalm_reranker.errors import DataFileError
from kalm_reranker.index.sources.characters import printable
from kalm_reranker.index.sources.record import SourceProblem


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file below a folder.

    Args:
        path: Where it is.
        relative: Its path below the folder, with slashes.
    """

    path: str
    relative: str


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    relative: str
    is_directory: bool


def walk(root: Path, suffixes: frozenset[str]) -> Iterator[FoundFile | SourceProblem]:
    """Yields the regular files below a folder, sorted by their relative paths.

    Hidden files and folders (their names begin with a dot) are left out, and so is what is neither
    file nor folder: a pipe would block. Links are followed. A folder that several paths lead to
    is read under the first of them only.

    Args:
        root: The folder.
        suffixes: Endings of the files wanted, lower case, with the dot.

    Raises:
        OSError: The folder itself cannot be read.
    """
    visited = {_identity(os.stat(root))}
    # A stack, since folders may be nested deeper than Python's calls may.
    waiting: list[_Entry | SourceProblem] = _children(str(root), "", suffixes)
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, SourceProblem):
            yield entry
        elif not entry.is_directory:
            yield FoundFile(entry.path, entry.relative)
        else:
            try:
                identity = _identity(os.stat(entry.path))
                if identity not in visited:
                    visited.add(identity)
                    waiting += _children(entry.path, f"{entry.relative}/", suffixes)
            except OSError as error:
                yield problem_of(entry.path, error)


def problem_of(path: str, error: OSError) -> SourceProblem:
    """Returns the problem that a file or a folder cannot be read."""
    where = printable(path)
    return SourceProblem(
        where,
        DataFileError(
            f"{where} cannot be read: {error.strerror or error}.",
            hint="Mend it, take it out of the folder, or give it a name that begins with a dot.",
        ),
    )


def _children(
    directory: str, prefix: str, suffixes: frozenset[str]
) -> list[_Entry | SourceProblem]:
    """Returns what is wanted of a folder, last name first, as a stack takes it."""
    found: list[tuple[str, _Entry | SourceProblem]] = []
    with os.scandir(directory) as entries:
        for item in entries:
            if item.name.startswith("."):
                continue
            relative = f"{prefix}{item.name}"
            try:
                mode = os.stat(item.path).st_mode
            except OSError as error:  # a broken link, or one that leads to itself
                found.append((item.name, problem_of(item.path, error)))
                continue
            if S_ISDIR(mode):
                # With the slash, folders and files come in the order of their whole paths.
                found.append((f"{item.name}/", _Entry(item.path, relative, is_directory=True)))
            elif S_ISREG(mode) and os.path.splitext(item.name)[1].lower() in suffixes:
                found.append((item.name, _Entry(item.path, relative, is_directory=False)))
    found.sort(key=lambda pair: pair[0], reverse=True)
    return [entry for _, entry in found]


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
