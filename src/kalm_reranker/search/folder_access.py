"""Which folder a first stage works in: its own, or a temporary one where that is read-only."""

import contextlib
import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from kalm_reranker.search.derived_folder import DerivedFolder, FolderState, UnusableFolderError

logger = logging.getLogger(__name__)

# The system's ways to say that a folder may not be written, whatever is tried.
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class FolderAccess:
    """A derived folder that moves to a temporary place when it cannot be written.

    The temporary one starts as a copy made of links, so that only changes take space.

    Args:
        path: The folder.
        kind: See `DerivedFolder`, as for the next.
        format_version: The version of the data's layout.
        writable: False leaves the folder alone from the start.
        changing_files: Names of the data files that are written again in place; copied, not
            linked.
    """

    def __init__(
        self,
        path: Path,
        *,
        kind: str,
        format_version: int,
        writable: bool,
        changing_files: Collection[str],
    ) -> None:
        self.folder = DerivedFolder(path, kind=kind, format_version=format_version)
        self._changing_files = changing_files
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if not writable:
            self._move("it is to be left alone")
        elif path.exists() and not os.access(path, os.W_OK | os.X_OK):
            self._move("it is read-only")

    def enter_lock(self, stack: ExitStack) -> bool:
        """Returns whether this process may write until the stack is left.

        Raises:
            StoreWriteError: Neither the folder nor a temporary one can be written.
        """
        try:
            return stack.enter_context(self.folder.lock())
        except OSError as error:
            if self._temporary is not None or error.errno not in _READ_ONLY:
                raise self.folder.write_error(error.strerror or str(error)) from error
            self._move(f"it cannot be written ({error.strerror})")
            return stack.enter_context(self.folder.lock())

    def close(self) -> None:
        """Deletes the temporary folder."""
        if self._temporary is not None:
            self._temporary.cleanup()

    def _move(self, reason: str) -> None:
        own = self.folder
        self._temporary = tempfile.TemporaryDirectory(prefix=f"kalm-{own.kind}-")
        self.folder = DerivedFolder(
            Path(self._temporary.name), kind=own.kind, format_version=own.format_version
        )
        logger.info("Using %s in place of %s: %s.", self.folder.path, own.path, reason)
        # Not usable, or replaced by its owner at this moment: then it is built here.
        with contextlib.suppress(UnusableFolderError, OSError):
            state = own.read_state()
            own.verify(state)
            self._copy(own, state)

    def _copy(self, own: DerivedFolder, state: FolderState) -> None:
        source, target = own.data(state), self.folder.data(state)
        target.mkdir()
        for name in state.files:
            if name in self._changing_files:
                shutil.copyfile(source / name, target / name)
            else:
                _link(source / name, target / name)
        self.folder.write_state(state)


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:  # Windows allows it to few users
        shutil.copyfile(source, target)
