"""Content hashes of files, remembered by file identity, since weights are gigabytes."""

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from pathlib import Path

_FORMAT = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Entries kept: a few hundred files are a few dozen models, and the file stays below 100 KB.
_MAX_ENTRIES = 256
# A file that changed so recently may change again within the same tick of the file system's
# clock, which its identity would not show. 2 s is the coarsest tick in use (FAT).
_SETTLING_TIME_NS = 2_000_000_000


def content_hash(path: Path) -> str:
    """Returns the SHA-256 of a file's content, as hex.

    A hash is remembered under the user's cache directory for as long as real path, device, inode,
    size, modification and change time stay the same. The memory is a convenience: absent, damaged
    or unwritable it costs time and nothing else, and of two writers the later one wins.

    Raises:
        OSError: The file cannot be read.
    """
    key = os.path.realpath(path)
    identity = file_identity(path)
    cache = _cache_path()
    entry = _read_entries(cache).get(key)
    if isinstance(entry, dict) and entry.get("identity") == identity:
        remembered = entry.get("sha256")
        if isinstance(remembered, str) and _SHA256.fullmatch(remembered):
            return remembered
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if file_identity(path) == identity and _is_settled(identity):
        _remember(cache, key, {"identity": identity, "sha256": digest})
    return digest


def file_identity(path: Path) -> list[int]:
    """Returns what changes when a file's content is replaced: device, inode, size and times.

    Raises:
        OSError: There is no such file.
    """
    # Change time too: `cp -p` and `rsync -t` can put other bytes under the same modification time.
    stat = path.stat()
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _is_settled(identity: list[int]) -> bool:
    return max(identity[-2:]) < time.time_ns() - _SETTLING_TIME_NS


def _cache_path() -> Path | None:
    """Returns where hashes are remembered; None where the user has no home directory."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(root):  # a relative one is to be ignored, says the XDG specification
        try:
            root = str(Path.home() / ".cache")
        except RuntimeError:
            return None
    return Path(root) / "kalm-reranker" / "file-hashes.json"


def _read_entries(cache: Path | None) -> dict[str, object]:
    if cache is None:
        return {}
    try:
        content = json.loads(cache.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        return {}
    entries = content.get("files")
    return entries if isinstance(entries, dict) else {}


def _remember(cache: Path | None, key: str, entry: dict[str, object]) -> None:
    if cache is None:
        return
    # Read again: another process may have written while this one hashed for seconds.
    entries = _read_entries(cache)
    entries.pop(key, None)
    entries[key] = entry  # at the end: the oldest are dropped first
    content = {"format": _FORMAT, "files": dict(list(entries.items())[-_MAX_ENTRIES:])}
    with contextlib.suppress(OSError):
        _write_atomically(cache, json.dumps(content))


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
