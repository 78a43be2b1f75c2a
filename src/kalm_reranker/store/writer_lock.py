"""One writer at a time: among threads by a lock in memory, among processes by a locked file."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from kalm_reranker.errors import StoreBusyError, StoreWriteError

# Locks of a parent process: letting go of one in a child would open it for others.
_INHERITED: list[BaseFileLock] = []


class WriterLock:
    """A lock that one thread of one process holds; it may take it again.

    The operating system drops the file's lock when the process ends, however it ends.

    Args:
        path: The file to lock; made where it is missing, and left there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.RLock()
        self._depth = 0
        self._file = FileLock(path, thread_local=False)
        self._pid = os.getpid()

    @contextmanager
    def held(self, *, wait_s: float) -> Iterator[None]:
        """Holds the lock inside the block.

        Args:
            wait_s: How long to wait for another holder.

        Raises:
            StoreBusyError: Somebody else holds it for longer than that.
            StoreWriteError: The file cannot be made or locked.
        """
        pid = os.getpid()
        if self._pid != pid:  # a fork inherits neither lock
            _INHERITED.append(self._file)
            self.__init__(self._path)  # type: ignore[misc]
        wait_s = min(max(0.0, wait_s), threading.TIMEOUT_MAX)
        deadline = time.monotonic() + wait_s
        if not self._threads.acquire(timeout=wait_s):
            raise self._busy("another thread of this process", wait_s)
        try:
            if self._depth == 0:
                self._lock_file(max(0.0, deadline - time.monotonic()), wait_s)
            self._depth += 1
            try:
                yield
            finally:
                # A fork made inside the block leaves it as well, but the lock is not its own.
                if os.getpid() == pid:
                    self._depth -= 1
                    if self._depth == 0:
                        self._file.release()
        finally:
            if os.getpid() == pid:
                self._threads.release()

    def _lock_file(self, timeout_s: float, wait_s: float) -> None:
        try:
            self._file.acquire(timeout=timeout_s)
        except Timeout as error:
            raise self._busy("another process", wait_s) from error
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StoreWriteError(
                f"{self._path.parent} cannot be written: {self._path.name} cannot be locked "
                f"({reason}).",
                hint="Check the permissions, or copy the index to a folder you can write to.",
            ) from error

    def _busy(self, holder: str, wait_s: float) -> StoreBusyError:
        return StoreBusyError(
            f"{self._path.parent} is being written by {holder}; waited {wait_s:g} s.",
            hint="Only one writer can work on an index. Wait until it has finished.",
        )
