"""From what the user calls a model to its files."""

import difflib
import os
import re
from pathlib import Path

from kalm_reranker.checkpoints.bundled import bundled_checkpoint
from kalm_reranker.checkpoints.checkpoint import Checkpoint, checkpoint_from_directory
from kalm_reranker.checkpoints.hub import hub_checkpoint
from kalm_reranker.checkpoints.known import KNOWN_MODELS
from kalm_reranker.errors import CheckpointNotFoundError, InvalidOptionError

# `organisation/name` as the hub spells it. A leading dot or further slash means a path.
# Neither "--" nor ".." may occur in it, nor "-" or "." at an end.
_HUB_ID = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]*/[A-Za-z0-9]([\w.-]*\w)?", re.ASCII)


def resolve_checkpoint(
    model: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Checkpoint:
    """Returns the checkpoint a name, directory or hub id stands for, downloading it if needed.

    A string is tried as a short name ("pico", "nano", ...), then as a directory, then as a hub id
    ("organisation/name"). Write "./nano" for a directory that is called like a short name. A path
    object is always a directory.

    Args:
        model: Short name, directory or hub id.
        revision: Branch, tag or commit on the hub; None means its main branch.
        token: Access token for the hub; None means the one it finds itself, False none.
        cache_dir: Where downloads are kept; None means the hub's own cache.
        local_files_only: Use the cache alone and never the network.

    Raises:
        CheckpointNotFoundError: Nothing has that name, or the hub gives no access to it.
        CheckpointUnavailableError: The hub cannot be reached and the cache does not hold it.
        InvalidCheckpointError: It was found, but is incomplete or damaged.
        InvalidOptionError: `model` is no text or path, or a revision was given for a model that
            does not come from the hub.
    """
    path = _as_path_text(model)
    if revision is not None and not isinstance(revision, str):
        raise InvalidOptionError(f"revision must be a string or None; got {revision!r}.")
    if cache_dir is not None and not isinstance(cache_dir, str | os.PathLike):
        raise InvalidOptionError(f"cache_dir must be a path or None; got {cache_dir!r}.")
    is_name = isinstance(model, str)
    known = KNOWN_MODELS.get(path) if is_name else None
    hub_id = known.hub_id if known else None
    if known is None:
        directory = os.path.expanduser(path)
        # os.path, not pathlib: a name too long for the file system is False here, no OSError.
        if os.path.isdir(directory):
            _refuse_revision(revision, path)
            return _local_checkpoint(Path(directory))
        if os.path.exists(directory):
            raise CheckpointNotFoundError(
                f"{path} is a file; a local model is a directory with config.json, "
                "tokenizer.json and safetensors weights.",
                hint="Give the directory that holds it.",
            )
        if is_name and _HUB_ID.fullmatch(path):
            hub_id = path
    elif hub_id is None:
        _refuse_revision(revision, path)
        return bundled_checkpoint()
    if hub_id is None:
        raise _not_found(path, could_be_name=is_name)
    return hub_checkpoint(
        hub_id,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
    )


def _as_path_text(model: str | os.PathLike[str]) -> str:
    path = os.fspath(model) if isinstance(model, os.PathLike) else model
    if not isinstance(path, str) or not path:
        raise InvalidOptionError(
            f"model must be a short name, a directory or a hub id; got {model!r}.",
            hint=f"Short names: {', '.join(KNOWN_MODELS)}.",
        )
    return path


def _local_checkpoint(directory: Path) -> Checkpoint:
    # Absolute, so that the checkpoint stays valid when the working directory changes. Links are
    # kept: a link is often the name the user knows the model by.
    directory = directory.absolute()
    name = directory.name or str(directory)
    return checkpoint_from_directory(directory, name=name, source="local")


def _refuse_revision(revision: str | None, path: str) -> None:
    if revision is not None:
        raise InvalidOptionError(
            f"revision must be None for {path}, which does not come from the hub; got {revision!r}."
        )


def _not_found(path: str, *, could_be_name: bool) -> CheckpointNotFoundError:
    known = f"Known names: {', '.join(KNOWN_MODELS)}."
    if not could_be_name:
        return CheckpointNotFoundError(f"There is no directory {path!r}.", hint=known)
    close = difflib.get_close_matches(path.casefold(), KNOWN_MODELS, n=3, cutoff=0.5)
    suggestion = f"Did you mean {' or '.join(repr(name) for name in close)}? " if close else ""
    return CheckpointNotFoundError(
        f"There is no model {path!r}: it is no short name, no directory and no hub id "
        "(organisation/name).",
        hint=f"{suggestion}{known}",
    )
