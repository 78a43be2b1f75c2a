"""A folder of data that is derived from a store: replaced as a whole, checked, never in between.

    state.json        what is current: format, store, change number, generation, files with hashes
    lock              held by the process that writes
    <generation>/     the data; any other generation is a leftover

Replacing `state.json` is the one step that makes new data current, so a process killed at any
time leaves the old data or the new. Readers keep the files they have open.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import xxhash
from filelock import FileLock, Timeout

from kalm_reranker.errors import KalmRerankerError, StoreWriteError

_STATE_FILE = "state.json"
_LOCK_FILE = "lock"
_BLOCK_BYTES = 1 << 20
# Files of this size together are read whole and compared when they are opened: 0.1 s from memory,
# 1 s from a slow disk. Of larger folders only the sizes are compared.
VERIFIED_BYTES = 1 << 30


class UnusableFolderError(Exception):
    """The folder does not hold what its state file says. Never leaves this package.

    Args:
        reason: Why, as a clause.
        is_damage: False where that is to be expected: no folder yet, another format.
    """

    def __init__(self, reason: str, *, is_damage: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_damage = is_damage


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderState:
    """What is current in a folder.

    Args:
        store_id: The store it was derived from.
        synced_change: Every change up to this number is in it.
        generation: Name of the folder within that holds the data.
        files: Name -> [size in bytes, XXH3 as hex], for each file in there. Without a hash: a
            file that only grows, and whose owner checks what it holds up to that size.
        settings: What its owner needs to know of it.
    """

    store_id: str
    synced_change: int
    generation: str
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


class DerivedFolder:
    """The folder, its lock, and the one file that says what is current.

    Args:
        path: Where; made when something is written.
        kind: What is in it, one word; another kind's folder is refused.
        format_version: Version of the data's layout; another version is refused.
    """

    def __init__(self, path: Path, *, kind: str, format_version: int) -> None:
        self.path = path
        self.kind = kind
        self.format_version = format_version
        self._verified: dict[tuple[str, str], tuple[int, str]] = {}

    def identity(self) -> tuple[int, int, int] | None:
        """Returns what changes when another state becomes current; None where there is none."""
        try:
            stat = os.stat(self.path / _STATE_FILE)
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def read_state(self) -> FolderState:
        """Returns what is current.

        Raises:
            UnusableFolderError: Nothing is, or what is there cannot be read.
        """
        try:
            content = json.loads((self.path / _STATE_FILE).read_bytes())
        except FileNotFoundError:
            raise UnusableFolderError("there was none", is_damage=False) from None
        except (OSError, ValueError, RecursionError) as error:
            raise UnusableFolderError(f"{_STATE_FILE} cannot be read: {error}") from error
        if not isinstance(content, dict) or content.pop("checksum", None) != _checksum(content):
            raise UnusableFolderError(f"{_STATE_FILE} is not what was written")
        found = (content.pop("kind", None), content.pop("format", None))
        if found != (self.kind, self.format_version):
            raise UnusableFolderError(
                f"it has the format {found[0]} {found[1]}, not {self.kind} {self.format_version}",
                is_damage=False,
            )
        try:
            state = FolderState(**content)
            files = {name: (int(size), str(digest)) for name, (size, digest) in state.files.items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise UnusableFolderError(f"{_STATE_FILE} misses what it should hold") from error
        return replace(state, files=files)

    def write_state(self, state: FolderState) -> None:
        """Makes a state current, durably.

        Raises:
            StoreWriteError: It cannot be written; the old one stays.
        """
        content = {"kind": self.kind, "format": self.format_version, **asdict(state)}
        content["checksum"] = _checksum(content)
        temporary = self.path / f"{_STATE_FILE}.new"
        with self.writing():
            with temporary.open("wb") as file:
                file.write(json.dumps(content, indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path / _STATE_FILE)
            sync_directory(self.path)
        # Its owner has just computed them.
        self._verified = {(state.generation, name): entry for name, entry in state.files.items()}

    def invalidate(self) -> None:
        """Makes nothing current, so that the next writer starts afresh. Best effort."""
        with contextlib.suppress(OSError):
            (self.path / _STATE_FILE).unlink()

    def data(self, state: FolderState) -> Path:
        """Returns the folder of a state's data."""
        return self.path / state.generation

    def verify(self, state: FolderState) -> None:
        """Checks that the files are those that were written; each once per process.

        Raises:
            UnusableFolderError: A file is missing, of another size, or holds other bytes.
        """
        if Path(state.generation).name != state.generation:
            raise UnusableFolderError(f"{_STATE_FILE} names no folder")
        is_small = sum(size for size, digest in state.files.values() if digest) <= VERIFIED_BYTES
        for name, entry in state.files.items():
            path = self.data(state) / name
            try:
                size = path.stat().st_size
                if size < entry[0] or (entry[1] and size > entry[0]):
                    raise UnusableFolderError(f"{name} has another size than was written")
                if entry[1] and is_small and self._verified.get((state.generation, name)) != entry:
                    if file_hash(path) != entry[1]:
                        raise UnusableFolderError(f"{name} holds other bytes than were written")
                    self._verified[state.generation, name] = entry
            except OSError as error:
                raise UnusableFolderError(f"{name} cannot be read: {error.strerror}") from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Yields whether this process may write now; makes the folder. Never waits.

        Raises:
            OSError: The folder cannot be written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / _LOCK_FILE, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def new_generation(self) -> str:
        """Makes an empty generation, for the holder of the lock, and returns its name.

        Raises:
            StoreWriteError: It cannot be made.
        """
        name = f"{time.time_ns():x}"
        with self.writing():
            (self.path / name).mkdir()
        return name

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turns the system's errors into the package's.

        Raises:
            StoreWriteError: An OSError left the `with` block.
        """
        try:
            yield
        except KalmRerankerError:  # some are OSErrors too, and say more
            raise
        except OSError as error:
            raise self.write_error(error.strerror or str(error)) from error

    def write_error(self, reason: str) -> StoreWriteError:
        """Returns the error for a disk that is full, read-only, or fails."""
        return StoreWriteError(
            f"The {self.kind} index in {self.path} cannot be written: {reason}.",
            hint="Free some space on that disk or check its permissions, then try again; what "
            "was there before is still used.",
        )

    def remove_leftovers(self, current: str | None) -> None:
        """Removes every generation but one, for the holder of the lock. Best effort."""
        with contextlib.suppress(OSError):
            for entry in os.scandir(self.path):
                if entry.name != current and entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)


def file_hash(path: Path) -> str:
    """Returns the XXH3 of a file's content, as hex.

    Raises:
        OSError: The file cannot be read.
    """
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable, where the system can do that."""
    with contextlib.suppress(OSError):  # Windows opens no directories
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_64_hexdigest(text.encode())
