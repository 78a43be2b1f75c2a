"""Vectors of passages on disk, found again by the passages' texts.

    vectors.jsonl    what they were made from, then a line for each passage: hash of the text,
                     number of vectors, checksum
    vectors.f32      the vectors one after another, little-endian float32, in the same order

Both files only ever grow, the list after the vectors. So a crash loses the block that was being
written and no other, and what follows the last complete line is dropped.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import xxhash

from kalm_reranker.errors import DamagedStoreError, DataFileError, NonFiniteScoreError
from kalm_reranker.progress import progress_bar
from kalm_reranker.search.dense_model import FloatArray
from kalm_reranker.whole_files import write_whole

FORMAT = 1
_LIST_FILE = "vectors.jsonl"
_DATA_FILE = "vectors.f32"
_FLOAT = np.dtype("<f4")
# Texts encoded at a time: batches of similar length, and little to lose in a crash.
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class _Entry:
    start: int  # in bytes
    rows: int
    checksum: str


class VectorFiles:
    """The vectors of passages' texts, in one folder.

    Args:
        folder: Made where it is missing.
        made_from: All that a vector depends on besides its text, as JSON holds it. What was made
            from something else is dropped.
        width: W, values of a vector.

    Attributes:
        num_reused: Texts whose vectors were there when it was opened.

    Raises:
        DataFileError: The folder cannot be read or written.
    """

    def __init__(self, folder: Path, *, made_from: Mapping[str, Any], width: int) -> None:
        self._folder = folder
        self._header = {"format": FORMAT, "made_from": dict(made_from), "width": width}
        self._width = width
        self._entries: dict[str, _Entry] = {}
        self._end = 0  # of the vectors, in bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines = self._read_entries()
            if lines is None:
                self._entries, self._end = {}, 0
                lines = [json.dumps(self._header)]
            # Both exactly as long as the entries that are whole, which they are but after a crash.
            self._cut_data()
            self._rewrite_list(lines)
        except OSError as error:
            raise self._failure(error) from error
        self.num_reused = len(self._entries)

    def add(
        self,
        texts: Sequence[str],
        encode: Callable[[list[str]], Sequence[FloatArray]],
        *,
        show_progress: bool | None,
    ) -> int:
        """Encodes the texts that have no vectors yet, block by block, and returns how many.

        Args:
            texts: Texts of passages; each is encoded once.
            encode: Returns the vectors of texts, one array [rows, W] for each.
            show_progress: See `progress_bar`.

        Raises:
            NonFiniteScoreError: A vector holds NaN or an infinite value.
            DataFileError: The files cannot be written.
        """
        missing = {text_key(text): text for text in texts}
        missing = {key: text for key, text in missing.items() if key not in self._entries}
        keys = list(missing)
        with progress_bar(len(keys), label="encode", unit="passages", show=show_progress) as done:
            for start in range(0, len(keys), _BLOCK):
                block = keys[start : start + _BLOCK]
                self._append(block, encode([missing[key] for key in block]))
                done(len(block))
        return len(keys)

    def read(self, texts: Sequence[str]) -> list[FloatArray]:
        """Returns the vectors of texts, float32 [rows, W] each.

        Raises:
            KeyError: One was never added.
            DamagedStoreError: The bytes are not what was written.
            DataFileError: The file cannot be read.
        """
        entries = [self._entries[text_key(text)] for text in texts]
        try:
            with (self._folder / _DATA_FILE).open("rb") as file:
                return [self._read_one(file, entry) for entry in entries]
        except OSError as error:
            raise self._failure(error) from error

    def num_bytes(self, text: str) -> int:
        """Returns the size of a text's vectors.

        Raises:
            KeyError: It was never added.
        """
        return self._num_bytes(self._entries[text_key(text)].rows)

    def _num_bytes(self, rows: int) -> int:
        return rows * self._width * _FLOAT.itemsize

    def _read_one(self, file: IO[bytes], entry: _Entry) -> FloatArray:
        file.seek(entry.start)
        raw = file.read(self._num_bytes(entry.rows))
        if xxhash.xxh3_64_hexdigest(raw) != entry.checksum:
            raise DamagedStoreError(
                f"{self._folder / _DATA_FILE} is not what was written, at byte {entry.start}.",
                hint="Remove the folder; vectors are then made again.",
            )
        return np.frombuffer(raw, _FLOAT).reshape(entry.rows, self._width).astype(np.float32)

    def _append(self, keys: list[str], encoded: Sequence[FloatArray]) -> None:
        lines, parts, entries, end = [], [], {}, self._end
        for key, vectors in zip(keys, encoded, strict=True):
            if not np.isfinite(vectors).all():
                raise NonFiniteScoreError(
                    "The model made NaN or infinite vectors.",
                    hint="Load it in float32, or on another device.",
                )
            raw = np.ascontiguousarray(vectors, _FLOAT).tobytes()
            entry = _Entry(end, len(vectors), xxhash.xxh3_64_hexdigest(raw))
            lines.append(json.dumps([key, entry.rows, entry.checksum]))
            parts.append(raw)
            entries[key] = entry
            end += len(raw)
        try:
            with (self._folder / _DATA_FILE).open("r+b") as data:
                data.seek(self._end)
                data.write(b"".join(parts))
            with (self._folder / _LIST_FILE).open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
        except OSError as error:
            raise self._failure(error) from error
        self._entries |= entries
        self._end = end

    def _read_entries(self) -> list[str] | None:
        """Reads the list into the entries; returns its good lines, None where none can be used."""
        path = self._folder / _LIST_FILE
        if not path.is_file():
            return None
        data = self._folder / _DATA_FILE
        size = data.stat().st_size if data.is_file() else 0
        lines = path.read_bytes().split(b"\n")[:-1]  # a line without an end is not whole
        good: list[str] = []
        for number, line in enumerate(lines):
            try:
                found = json.loads(line)
                if number == 0:
                    if found != self._header:
                        return None
                else:
                    key, rows, checksum = found
                    end = self._end + self._num_bytes(rows)
                    if not isinstance(key, str) or rows < 0 or end > size:
                        break
                    self._entries[key] = _Entry(self._end, rows, checksum)
                    self._end = end
            except (ValueError, TypeError):
                break
            good.append(line.decode("utf-8"))
        return good or None

    def _cut_data(self) -> None:
        path = self._folder / _DATA_FILE
        if not path.is_file() or path.stat().st_size != self._end:
            with path.open("ab") as data:
                data.truncate(self._end)

    def _rewrite_list(self, lines: list[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        path = self._folder / _LIST_FILE
        if path.is_file() and path.read_bytes() == text.encode():
            return
        write_whole(path, text.encode())

    def _failure(self, error: OSError) -> DataFileError:
        return DataFileError(
            f"Vectors in {self._folder} cannot be read or written: {error.strerror or error}.",
            hint="Check the path, its permissions and the free space.",
        )


def text_key(text: str) -> str:
    """Returns what a text's vectors are found by."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
