"""Files that are there whole or as they were before, whatever happens while they are written."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from kalm_reranker.errors import DataFileError, KalmRerankerError


def write_whole(
    path: Path,
    content: bytes,
    *,
    make_folder: bool = True,
    error: type[KalmRerankerError] = DataFileError,
) -> None:
    """Puts a file in the place of what is there, if anything is.

    The content is on disk before the file takes its place, so a crash leaves the one or the other.
    Several processes may write the same file: the last one stays, whole.

    Args:
        path: The file.
        content: All that is to be in it.
        make_folder: Make its folder where it is missing.
        error: What is raised where it cannot be written.
    """
    # Short, since a name that is allowed may be too long with anything added.
    unfinished = path.with_name(f".{secrets.token_hex(8)}.unfinished")
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
    except OSError as reason:
        raise error(
            f"{path} cannot be written: {reason.strerror or reason}.",
            hint="Check the path, its permissions and the free space.",
        ) from reason
