"""Vectors as rows of a flat file, with the key of each row in another.

    vectors.f32       little-endian float32 [N, W]; only grows; what is behind the rows of the
                      state was left by a crash and is cut off before the next row is written
    keys-<n>.i64      little-endian int64 [N]; -1 for a row whose passage is gone; written anew
                      when it changes
    keys.new          keys of the rows that do not count yet

Rows are hashed in blocks of about 4 MB. N rows, W values of a vector.
"""

import os
import shutil
from collections.abc import Iterator, Set
from contextlib import ExitStack
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt
import xxhash

from kalm_reranker.search.derived_folder import UnusableFolderError, sync_directory

VECTORS_FILE = "vectors.f32"
_NEW_KEYS_FILE = "keys.new"
DEAD = -1

# Bytes of a block: large enough for matrix products, small enough to be all that is in memory.
# Part of the format, as hashes are of blocks.
_BLOCK_BYTES = 4 << 20
# By how much the fast product can be off for vectors of unit norm; the most seen was 6.3e-8 (64
# to 4,096 dimensions, 20,000 vectors by 50 queries).
_PRODUCT_ERROR = 1e-5

FloatArray: TypeAlias = npt.NDArray[np.float32]
KeyArray: TypeAlias = npt.NDArray[np.int64]


def rows_per_block(width: int) -> int:
    """Returns how many rows are hashed, and multiplied, at a time."""
    return max(1, _BLOCK_BYTES // (4 * width))


class DenseReader:
    """The rows of one state, mapped into memory.

    Args:
        data: The folder.
        keys_file: Name of the file of keys.
        num_rows: N.
        width: W.
        block_hashes: XXH3 of each block, as hex; the last block may be short. Checked when a
            block is first read, or by `check`.
        known_good: Block numbers and hashes that were checked before, in the same file.

    Raises:
        OSError: A file cannot be opened.
        ValueError: A file is too short.
    """

    def __init__(
        self,
        data: Path,
        *,
        keys_file: str,
        num_rows: int,
        width: int,
        block_hashes: list[str],
        known_good: Set[tuple[int, str]] = frozenset(),
    ) -> None:
        self._block_rows = rows_per_block(width)
        self._hashes = block_hashes
        self.known_good = set(known_good)
        self._vectors = np.empty((0, width), "<f4")
        self._keys = np.empty(0, "<i8")
        if num_rows:  # nothing cannot be mapped
            self._vectors = np.memmap(
                data / VECTORS_FILE, dtype="<f4", mode="r", shape=(num_rows, width)
            )
            self._keys = np.memmap(data / keys_file, dtype="<i8", mode="r", shape=(num_rows,))

    def check(self) -> None:
        """Checks all blocks that were not read yet.

        Raises:
            UnusableFolderError: A block holds other bytes than were written.
        """
        for _ in self._blocks():
            pass

    def search(self, query: FloatArray, top_k: int) -> list[tuple[int, float]]:
        """Returns (key, inner product) of the best rows, best first, equal products by key.

        Args:
            query: A vector [W].
            top_k: Most rows returned.

        Raises:
            UnusableFolderError: A block holds other bytes than were written.
        """
        best_keys, best_scores = np.empty(0, np.int64), np.empty(0, np.float64)
        query_64 = query.astype(np.float64)  # [W]
        slack = _PRODUCT_ERROR * float(np.linalg.norm(query_64))
        for keys, vectors in self._blocks():
            rough = vectors @ query  # [N'] float32
            rough[keys == DEAD] = -np.inf
            threshold = -np.inf if len(best_scores) < top_k else best_scores[-1]
            if len(rough) > top_k:
                threshold = max(threshold, np.partition(rough, -top_k)[-top_k])
            chosen = np.flatnonzero((rough >= threshold - slack) & (keys != DEAD))
            # Again in float64 and row by row: the fast product rounds by where a row stands, which
            # would put equal vectors into a chance order.
            scores = (vectors[chosen].astype(np.float64) * query_64).sum(axis=1)
            best_keys = np.concatenate([best_keys, keys[chosen]])
            best_scores = np.concatenate([best_scores, scores])
            order = np.lexsort((best_keys, -best_scores))[:top_k]
            best_keys, best_scores = best_keys[order], best_scores[order]
        return list(zip(best_keys.tolist(), best_scores.tolist(), strict=True))

    def _blocks(self) -> Iterator[tuple[KeyArray, FloatArray]]:
        for number, start in enumerate(range(0, len(self._keys), self._block_rows)):
            end = start + self._block_rows
            vectors = self._vectors[start:end]
            if (number, self._hashes[number]) not in self.known_good:
                if xxhash.xxh3_64_hexdigest(vectors.data) != self._hashes[number]:
                    raise UnusableFolderError(f"{VECTORS_FILE} holds other bytes than were written")
                self.known_good.add((number, self._hashes[number]))
            yield self._keys[start:end], vectors


class DenseWriter:
    """Appends rows, and marks rows as gone. What it wrote counts once a state says so.

    Args:
        data: The folder.
        keys_file: Name of the current file of keys; None for none.
        num_rows: Rows that count so far.
        num_dead: Those of them that are gone.
        width: W.
        block_hashes: Hashes of their blocks.

    Raises:
        OSError: The disk fails.
        UnusableFolderError: The last block holds other bytes than were written.
    """

    def __init__(
        self,
        data: Path,
        *,
        width: int,
        keys_file: str | None = None,
        num_rows: int = 0,
        num_dead: int = 0,
        block_hashes: list[str] | None = None,
    ) -> None:
        self._data = data
        self._width = width
        self._block_rows = rows_per_block(width)
        self._keys_file = keys_file
        self._num_old_rows = num_rows
        self._old_hashes = list(block_hashes or [])
        self._num_new_rows = 0
        self._gone: list[int] = []
        self.num_dead = num_dead
        self._hash = xxhash.xxh3_64()
        path = data / VECTORS_FILE
        with ExitStack() as stack:
            self._file = stack.enter_context(path.open("r+b" if path.exists() else "w+b"))
            self._new_keys = stack.enter_context((data / _NEW_KEYS_FILE).open("w+b"))
            self._resume()
            self._files = stack.pop_all()

    def _resume(self) -> None:
        """Goes to the end of the rows, and takes up the hash of a block that is not full."""
        row_bytes = 4 * self._width
        num_open = self._num_old_rows % self._block_rows
        self._file.truncate(self._num_old_rows * row_bytes)
        self._file.seek((self._num_old_rows - num_open) * row_bytes)
        if num_open:
            self._hash.update(self._file.read(num_open * row_bytes))
            if self._hash.hexdigest() != self._old_hashes.pop():
                raise UnusableFolderError(f"{VECTORS_FILE} holds other bytes than were written")

    @property
    def num_rows(self) -> int:
        """All rows, old, new and gone."""
        return self._num_old_rows + self._num_new_rows

    @property
    def block_hashes(self) -> list[str]:
        """The hashes of all blocks, the last one perhaps not full."""
        is_open = self.num_rows % self._block_rows > 0
        return [*self._old_hashes, *([self._hash.hexdigest()] if is_open else [])]

    def append(self, key: int, vector: bytes) -> None:
        """Writes the vector of a passage that has no row, or whose row is gone."""
        self._file.write(vector)
        self._hash.update(vector)
        self._new_keys.write(key.to_bytes(8, "little"))
        self._num_new_rows += 1
        if self.num_rows % self._block_rows == 0:
            self._old_hashes.append(self._hash.hexdigest())
            self._hash = xxhash.xxh3_64()

    def remove(self, key: int) -> None:
        """Marks the row of a passage as gone, if there is one among those that counted."""
        self._gone.append(key)

    def write_keys(self, name: str) -> None:
        """Writes the keys of all rows to a new file, and makes it and the vectors durable.

        Raises:
            OSError: The disk fails.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        gone = np.array(self._gone, dtype=np.int64)
        with (self._data / name).open("wb") as file:
            for keys in self._old_keys():
                is_gone = np.isin(keys, gone)
                self.num_dead += int(is_gone.sum())
                file.write(np.where(is_gone, DEAD, keys).astype("<i8").tobytes())
            self._new_keys.seek(0)
            shutil.copyfileobj(self._new_keys, file)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self._data)

    def _old_keys(self) -> Iterator[KeyArray]:
        if self._keys_file is None:
            return
        with (self._data / self._keys_file).open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield np.frombuffer(block, dtype="<i8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()
        (self._data / _NEW_KEYS_FILE).unlink(missing_ok=True)
