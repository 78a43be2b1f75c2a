"""A run while it is being made: queries go to disk in blocks, so that an interruption loses one.

A file of JSON lines: what the run is made from, then a query with its scores on each line. Python
writes floats so that they read back as the same numbers.
"""

import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from kalm_reranker.errors import DataFileError
from kalm_reranker.search.ranking import Run

# A block is on disk after this long at the latest, however slow its queries are.
_BLOCK_S = 5.0
_BLOCK_QUERIES = 64


class PartialRun:
    """Scored queries of a run, those of an earlier process among them.

    Args:
        path: The file; made if missing. One of another run is replaced.
        made_from: What the run depends on, as JSON holds it.

    Raises:
        DataFileError: The file cannot be read or written.
    """

    def __init__(self, path: Path, made_from: Mapping[str, Any]) -> None:
        self._path = path
        self._made_from = json.loads(json.dumps(made_from))
        self.run: Run = {}
        self.seconds: dict[str, float] = {}
        self._waiting: list[str] = []
        self._written_at = time.monotonic()
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            length = self._load()
            # Appending even to an empty file: what a second process writes is not written over.
            self._file = self._path.open("a", encoding="utf-8", newline="\n")
            self._file.truncate(length)
            if not length:
                self._file.write(json.dumps({"made_from": self._made_from}) + "\n")
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is None:
            return
        try:
            self.flush()
        finally:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def add(self, query_id: str, scores: Mapping[str, float], seconds: float) -> None:
        """Takes a scored query; a block of them is written when it is large or old enough."""
        self.run[query_id] = dict(scores)
        self.seconds[query_id] = seconds
        line = {"query_id": query_id, "scores": self.run[query_id], "seconds": seconds}
        self._waiting.append(json.dumps(line) + "\n")
        is_old = time.monotonic() - self._written_at > _BLOCK_S
        if is_old or len(self._waiting) >= _BLOCK_QUERIES:
            self.flush()

    def flush(self) -> None:
        """Makes what was added durable."""
        assert self._file is not None, "only inside its with block"
        if not self._waiting:
            return
        try:
            self._file.write("".join(self._waiting))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        self._waiting.clear()
        self._written_at = time.monotonic()

    def discard(self) -> None:
        """Removes the file, after the finished run was saved elsewhere."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _load(self) -> int:
        """Reads what an earlier process wrote; returns how many of its bytes are good."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return 0
        good = 0
        for number, line in enumerate(raw.splitlines(keepends=True)):
            # The last line may be cut off; nothing after a bad one is trusted.
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
                if number == 0:
                    if record["made_from"] != self._made_from:
                        return 0
                else:
                    scores = {str(key): float(value) for key, value in record["scores"].items()}
                    seconds = float(record["seconds"])
                    if not all(map(math.isfinite, (*scores.values(), seconds))):
                        break
                    self.run[str(record["query_id"])] = scores
                    self.seconds[str(record["query_id"])] = seconds
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                break
            good += len(line)
        return good

    def _unwritable(self, error: OSError) -> DataFileError:
        return DataFileError(
            f"{self._path} cannot be written: {error.strerror or error}.",
            hint="Check the path, its permissions and the free space.",
        )
