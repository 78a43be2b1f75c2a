"""An index derived from a store: opened, brought up to date, replaced, by threads and processes.

What is common to BM25 and dense vectors; what differs is how data are opened, built, and changed.
"""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from kalm_reranker.errors import DamagedStoreError, StoreBusyError, StoreError
from kalm_reranker.search.change_feed import Feed
from kalm_reranker.search.derived_folder import DerivedFolder, FolderState, UnusableFolderError
from kalm_reranker.search.folder_access import FolderAccess
from kalm_reranker.search.sync_report import SyncReport

logger = logging.getLogger(__name__)

# How long a search that has nothing to search in waits for a process that is building it.
_WAIT_S = 60.0
_POLL_S = 0.05

F = TypeVar("F", bound=Feed)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Opened(Generic[R]):
    """An index as it was when it was opened: what its folder said, and what reads its data."""

    state: FolderState
    reader: R


class DerivedIndex(ABC, Generic[F, R]):
    """An index in a folder of its own.

    Threads may search while another one syncs. Of several processes one writes at a time; the
    others go on with what is current.

    Args:
        directory: The folder; made by the first `sync`.
        kind: See `DerivedFolder`, as for the next.
        format_version: The version of the data's layout.
        writable: See `FolderAccess`, as for the next.
        changing_files: The data files that are written again in place.
    """

    def __init__(
        self,
        directory: Path,
        *,
        kind: str,
        format_version: int,
        writable: bool,
        changing_files: Collection[str] = (),
    ) -> None:
        self._access = FolderAccess(
            Path(directory),
            kind=kind,
            format_version=format_version,
            writable=writable,
            changing_files=changing_files,
        )
        # The first guards what is open; the second lets one thread sync at a time.
        self._lock, self._sync_lock = threading.RLock(), threading.Lock()
        self._opened: Opened[R] | None = None
        self._identity: object = None
        self._is_closed = False

    @property
    def synced_change(self) -> int:
        """The store's change up to which passages can be found; 0 where nothing was written."""
        opened = self._current()
        return 0 if opened is None else opened.state.synced_change

    def is_behind(self, feed: F) -> bool:
        """Returns whether `sync` has something to do."""
        opened, last = self._current(), feed.last_change()
        return (
            opened is None
            or opened.state.synced_change != last
            or self._why_not_kept(opened.state, feed, last) is not None
            or self._is_decision_due(opened.state, feed)
        )

    def sync(
        self,
        feed: F,
        *,
        on_progress: Callable[[int], None] = lambda count: None,
        wait_s: float = _WAIT_S,
    ) -> SyncReport:
        """Brings the index up to date with a store.

        What is missing, damaged, of another store, format or setting is built from all passages.

        Args:
            feed: The store's passages.
            on_progress: Told how many more passages are done.
            wait_s: How long to wait for another process that is building what is missing. Where
                there is something to search in, nobody waits.

        Raises:
            StoreBusyError: Another process is building what is missing for longer than that.
            StoreWriteError: The disk is full or fails; what was current still is.
            MissingExtraError: A library that is needed is not installed.
        """
        with self._sync_lock, ExitStack() as stack:
            if not self.is_behind(feed):
                return SyncReport()
            if not self._enter_lock(stack, wait_s):
                return SyncReport(
                    reason="another process is writing",
                    behind=max(1, feed.last_change() - self.synced_change),
                )
            try:
                return self._sync_alone(feed, on_progress)
            finally:
                self._current()  # opened while nobody else can replace it

    def _enter_lock(self, stack: ExitStack, wait_s: float) -> bool:
        """Takes the lock, or returns False where another process has it and there are data to use.

        Without any, a search would find nothing, so it waits for them.

        Raises:
            StoreBusyError: They do not come.
        """
        deadline = time.monotonic() + wait_s
        while not self._access.enter_lock(stack):
            if self._current() is not None:
                return False
            if time.monotonic() > deadline:
                raise StoreBusyError(
                    f"{self._access.folder.path} is being built by another process; waited "
                    f"{wait_s:g} s.",
                    hint="Wait until it has finished, and search again.",
                )
            time.sleep(_POLL_S)
        return True

    def forget_future(self, feed: F) -> None:
        """Gives up data that know of more changes than the store has; call it before a write.

        Such a store was replaced by an older copy of itself. Its next changes get numbers that the
        data take for those they have, so afterwards nobody could tell.
        """
        with self._sync_lock, self._lock:
            folder = self._access.folder
            try:
                state = folder.read_state()
            except UnusableFolderError:
                return  # built anew anyway
            if state.store_id == feed.store_id and state.synced_change > feed.last_change():
                folder.invalidate()
                self._opened = None

    def close(self) -> None:
        """Lets go of the files, and deletes the temporary ones."""
        with self._sync_lock, self._lock:
            self._is_closed = True
            self._opened = None
            self._access.close()

    @abstractmethod
    def _open(self, data: Path, state: FolderState) -> R:
        """Returns what reads the data of a state.

        Raises:
            UnusableFolderError: They cannot be read.
        """

    @abstractmethod
    def _why_unfit(self, state: FolderState) -> str | None:
        """Returns why data are of no use with these settings, as a clause; None if they are."""

    @abstractmethod
    def _catch_up(
        self,
        folder: DerivedFolder,
        state: FolderState,
        feed: F,
        last: int,
        on_progress: Callable[[int], None],
    ) -> SyncReport:
        """Applies the changes up to `last` to the data and makes them current.

        Raises:
            UnusableFolderError: It is better to build them anew.
            StoreWriteError: The disk is full or fails.
        """

    @abstractmethod
    def _build(
        self,
        folder: DerivedFolder,
        state: FolderState,
        feed: F,
        on_progress: Callable[[int], None],
    ) -> SyncReport:
        """Writes all passages up to the state's change and makes them current.

        Raises:
            StoreWriteError: The disk is full or fails.
        """

    def _is_decision_due(self, state: FolderState, feed: F) -> bool:
        """Returns whether something that was decided by the passages must be looked at again."""
        return False

    def _sync_alone(self, feed: F, on_progress: Callable[[int], None]) -> SyncReport:
        folder, last = self._access.folder, feed.last_change()
        try:
            state = folder.read_state()
            reason = self._why_not_kept(state, feed, last)
            if reason is not None:
                raise UnusableFolderError(reason, is_damage=False)
            folder.verify(state)
            with self._lock:
                if self._opened is None or self._opened.state != state:
                    self._opened = Opened(state, self._open(folder.data(state), state))
            folder.remove_leftovers(state.generation)
            return self._catch_up(folder, state, feed, last, on_progress)
        except UnusableFolderError as error:
            level = logging.WARNING if error.is_damage else logging.INFO
            what = f"the {folder.kind} index in {folder.path}"
            logger.log(level, "Building %s: %s.", what, error.reason)
            reason = error.reason
        with self._lock:
            if self._opened is not None and self._opened.state.store_id != feed.store_id:
                self._opened = None  # its keys mean other passages
        state = FolderState(store_id=feed.store_id, synced_change=last, generation="")
        return replace(self._build(folder, state, feed, on_progress), reason=reason)

    def _why_not_kept(self, state: FolderState, feed: F, last: int) -> str | None:
        if state.store_id != feed.store_id:
            return "it belongs to another store"
        if state.synced_change > last:
            return "the store is an older copy of itself"
        return self._why_unfit(state)

    def _current(self) -> Opened[R] | None:
        """Returns the open index, after opening what became current since."""
        with self._lock:
            folder = self._access.folder
            if self._is_closed:
                raise StoreError(
                    f"The {folder.kind} index was closed.", hint="Open it again to search."
                )
            identity = (folder.path, folder.identity())
            if identity != self._identity:
                self._identity = identity
                try:
                    state = folder.read_state()
                    folder.verify(state)
                    self._opened = Opened(state, self._open(folder.data(state), state))
                except UnusableFolderError as error:
                    # Being written at this moment, or damaged: the next sync finds out which.
                    logger.debug("%s is not open: %s.", folder.path, error.reason)
            return self._opened

    def _damaged(self, opened: Opened[R], reason: str) -> DamagedStoreError:
        """Gives up data that turned out to be damaged, and returns the error to raise."""
        folder = self._access.folder
        with self._lock:
            if self._opened is opened:
                self._opened = None
                folder.invalidate()
        return DamagedStoreError(
            f"The {folder.kind} index in {folder.path} cannot be read: {reason}.",
            hint="It is built again from the store when it is next brought up to date; search "
            "again.",
        )
