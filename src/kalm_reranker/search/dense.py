"""Dense retrieval over the passages of a store: exact search in flat files beside it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kalm_reranker.errors import DamagedStoreError, InputError
from kalm_reranker.options import check_count
from kalm_reranker.search.change_feed import VectorChange as VectorChange
from kalm_reranker.search.change_feed import VectorFeed as VectorFeed
from kalm_reranker.search.dense_rows import VECTORS_FILE, DenseReader, DenseWriter
from kalm_reranker.search.derived_folder import (
    VERIFIED_BYTES,
    DerivedFolder,
    FolderState,
    UnusableFolderError,
    file_hash,
)
from kalm_reranker.search.derived_index import DerivedIndex
from kalm_reranker.search.sync_report import SyncReport

_FORMAT = 1
# Rows of passages that are gone; over this share, all is written anew.
_MOST_DEAD = 0.25
# Changes after which a catch-up is made durable; their keys are in memory until then.
_CHANGES_PER_COMMIT = 100_000
# Settings of an index, kept in its state.
_WIDTH, _KEYS, _ROWS, _DEAD_ROWS, _HASHES = "width", "keys_file", "rows", "dead", "block_hashes"


class DenseFirstStage(DerivedIndex[VectorFeed, DenseReader]):
    """The vectors of a store in flat files, brought up to date by `sync`, searched by brute force.

    Exact, and within a second for millions of passages: each search reads all vectors once, from
    the system's file cache, in blocks of 4 MB.

    Args:
        directory: The index's own folder; made by the first `sync`.
        width: W, values of a vector.
        writable: False leaves the folder alone: where it is missing or behind, the index is built
            in a temporary folder and kept up to date there until `close`. So is that of a folder
            that turns out to be read-only.

    Raises:
        InvalidOptionError: `width` is not a positive integer.
    """

    def __init__(self, directory: Path, *, width: int, writable: bool = True) -> None:
        self._width = check_count(width, "width")
        super().__init__(directory, kind="dense", format_version=_FORMAT, writable=writable)

    @property
    def num_docs(self) -> int:
        """How many passages can be found."""
        opened = self._current()
        if opened is None:
            return 0
        settings = opened.state.settings
        return int(settings[_ROWS] - settings[_DEAD_ROWS])

    def search(self, query_vector: npt.NDArray[Any], top_k: int) -> list[tuple[int, float]]:
        """Returns the passages whose vectors have the largest inner product with the query's.

        Args:
            query_vector: [W], of unit norm for cosines.
            top_k: Most passages returned.

        Returns:
            (key, inner product in float64), best first, equal ones by key. Nothing before the
            first `sync`.

        Raises:
            InvalidOptionError: `top_k` is not a positive integer.
            InputError: The vector has another width, or holds NaN or infinite values.
            DamagedStoreError: The index turned out to be damaged; the next `sync` rebuilds it.
        """
        check_count(top_k, "top_k")
        vector = np.asarray(query_vector, dtype=np.float32)
        if vector.shape != (self._width,) or not np.isfinite(vector).all():
            raise InputError(
                f"query_vector must be {self._width} finite numbers; got shape {vector.shape}"
                f"{'' if np.isfinite(vector).all() else ' with NaN or infinite values'}.",
                hint="Encode the query with the model that encoded the passages.",
            )
        opened = self._current()
        if opened is None:
            return []
        try:
            return opened.reader.search(vector, top_k)
        except UnusableFolderError as error:
            raise self._damaged(opened, error.reason) from error

    def _open(self, data: Path, state: FolderState) -> DenseReader:
        settings, before = state.settings, self._opened
        is_same_file = before is not None and before.state.generation == state.generation
        try:
            reader = DenseReader(
                data,
                keys_file=settings[_KEYS],
                num_rows=settings[_ROWS],
                width=settings[_WIDTH],
                block_hashes=settings[_HASHES],
                known_good=before.reader.known_good if before and is_same_file else frozenset(),
            )
            if state.files[VECTORS_FILE][0] <= VERIFIED_BYTES:
                reader.check()
            return reader
        except (OSError, ValueError) as error:
            raise UnusableFolderError(f"its files cannot be mapped: {error}") from error

    def _why_unfit(self, state: FolderState) -> str | None:
        if state.settings[_WIDTH] != self._width:
            return "its vectors had another width"
        return None

    def _catch_up(
        self,
        folder: DerivedFolder,
        state: FolderState,
        feed: VectorFeed,
        last: int,
        on_progress: Callable[[int], None],
    ) -> SyncReport:
        data = folder.data(state)
        if (data / VECTORS_FILE).is_symlink():  # of a folder that is not to be written
            raise UnusableFolderError("it is behind, and read-only", is_damage=False)
        changes = iter(feed.vectors_since(state.synced_change))
        num_added = num_deleted = 0
        while state.synced_change < last:
            old = state.settings
            with (
                folder.writing(),
                DenseWriter(
                    data,
                    width=self._width,
                    keys_file=old[_KEYS],
                    num_rows=old[_ROWS],
                    num_dead=old[_DEAD_ROWS],
                    block_hashes=old[_HASHES],
                ) as writer,
            ):
                reached = last
                for number, change in enumerate(changes, start=1):
                    if change.change > last:  # newer than what is promised; next time
                        break
                    writer.remove(change.key)
                    if change.vector is None:
                        num_deleted += 1
                    else:
                        writer.append(change.key, self._checked(change))
                        num_added += 1
                    on_progress(1)
                    if number == _CHANGES_PER_COMMIT:
                        reached = change.change
                        break
                state = self._finish(folder, replace(state, synced_change=reached), writer)
            (data / old[_KEYS]).unlink(missing_ok=True)
        if state.settings[_DEAD_ROWS] > _MOST_DEAD * state.settings[_ROWS]:
            raise UnusableFolderError("much of it was deleted passages", is_damage=False)
        return SyncReport(added=num_added, deleted=num_deleted)

    def _build(
        self,
        folder: DerivedFolder,
        state: FolderState,
        feed: VectorFeed,
        on_progress: Callable[[int], None],
    ) -> SyncReport:
        generation = folder.new_generation()
        state = replace(state, generation=generation)
        data = folder.data(state)
        num_added = 0
        try:
            with folder.writing(), DenseWriter(data, width=self._width) as writer:
                for change in feed.vectors_since(0):
                    # A passage that changes meanwhile would come twice; the next sync has it.
                    if change.change > state.synced_change:
                        break
                    if change.vector is not None:
                        writer.append(change.key, self._checked(change))
                        num_added += 1
                        on_progress(1)
                self._finish(folder, state, writer)
        except BaseException:
            shutil.rmtree(data, ignore_errors=True)
            raise
        folder.remove_leftovers(generation)
        return SyncReport(added=num_added, rebuilt=True)

    def _finish(
        self, folder: DerivedFolder, state: FolderState, writer: DenseWriter
    ) -> FolderState:
        """Makes what was written durable, and current; returns the new state."""
        data = folder.data(state)
        keys_file = f"keys-{state.synced_change}.i64"
        writer.write_keys(keys_file)
        size = 4 * self._width * writer.num_rows
        keys = data / keys_file
        state = replace(
            state,
            files={VECTORS_FILE: (size, ""), keys_file: (keys.stat().st_size, file_hash(keys))},
            settings={
                _WIDTH: self._width,
                _KEYS: keys_file,
                _ROWS: writer.num_rows,
                _DEAD_ROWS: writer.num_dead,
                _HASHES: writer.block_hashes,
            },
        )
        folder.write_state(state)
        return state

    def _checked(self, change: VectorChange) -> bytes:
        vector = change.vector
        if vector is None or len(vector) != 4 * self._width:
            got = None if vector is None else len(vector)
            raise DamagedStoreError(
                f"The vector of the passage with key {change.key} must have {4 * self._width} "
                f"bytes; got {got}.",
                hint="Make the index again, or add that passage again.",
            )
        return vector
