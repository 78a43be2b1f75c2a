"""What of the known models is on this machine already. No network."""

import os

from kalm_reranker.checkpoints.bundled import bundled_checkpoint
from kalm_reranker.checkpoints.checkpoint import Checkpoint
from kalm_reranker.checkpoints.hub import cached_checkpoint
from kalm_reranker.checkpoints.known import KnownModel
from kalm_reranker.errors import CheckpointError


def is_on_disk(model: KnownModel, *, cache_dir: str | os.PathLike[str] | None = None) -> bool:
    """Returns whether a known model can be loaded without a network."""
    return size_on_disk_bytes(model, cache_dir=cache_dir) is not None


def size_on_disk_bytes(
    model: KnownModel, *, cache_dir: str | os.PathLike[str] | None = None
) -> int | None:
    """Returns the size of a known model's config, tokenizer and weights; None if not on disk.

    A checkpoint that was downloaded only in part is not on disk.
    """
    checkpoint = _on_disk(model, cache_dir=cache_dir)
    if checkpoint is None:
        return None
    paths = (checkpoint.config_path, checkpoint.tokenizer_path, *checkpoint.weight_files)
    return sum(path.stat().st_size for path in paths)


def _on_disk(model: KnownModel, *, cache_dir: str | os.PathLike[str] | None) -> Checkpoint | None:
    if model.hub_id is not None:
        return cached_checkpoint(model.hub_id, cache_dir=cache_dir)
    try:
        return bundled_checkpoint()
    except CheckpointError:
        return None
