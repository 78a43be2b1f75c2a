"""Reading a checkpoint's JSON files: one object per file, every fault a typed error."""

import json
from pathlib import Path
from typing import Any

from kalm_reranker.errors import InvalidCheckpointError

# What a repository holds in place of a big file when it was cloned without Git LFS.
_LFS_POINTER_START = b"version https://git-lfs"


def read_json_object(path: Path) -> dict[str, Any]:
    """Returns the JSON object a file holds.

    Raises:
        InvalidCheckpointError: The file cannot be read, is no UTF-8, no JSON, or no object; the
            message names the file and, for JSON faults, line and column.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InvalidCheckpointError(
            f"{path} cannot be read: {error.strerror or error}."
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidCheckpointError(
            f"{path} is not valid UTF-8: byte {error.start} ({error.reason})."
        ) from error
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidCheckpointError(
            f"{path} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}.",
            hint="The file is damaged or was not downloaded completely; fetch it again.",
        ) from error
    except ValueError as error:  # an integer of thousands of digits
        raise InvalidCheckpointError(f"{path} cannot be read as JSON: {error}.") from error
    except RecursionError as error:
        raise InvalidCheckpointError(f"{path} nests JSON values too deeply to be read.") from error
    if not isinstance(value, dict):
        raise InvalidCheckpointError(
            f"{path} must hold a JSON object; got {type(value).__name__} at the top level."
        )
    return value


def refuse_lfs_pointer(path: Path) -> None:
    """Raises where a file is only the pointer that a clone without Git LFS leaves behind.

    Without this check the loaders report a broken header, which says nothing about the cause.

    Raises:
        InvalidCheckpointError: The file is a Git LFS pointer, or cannot be opened.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER_START))
    except OSError as error:
        raise InvalidCheckpointError(
            f"{path} cannot be read: {error.strerror or error}."
        ) from error
    if start == _LFS_POINTER_START:
        raise InvalidCheckpointError(
            f"{path} is a Git LFS pointer, not the file itself.",
            hint="Run `git lfs pull` in that directory.",
        )
