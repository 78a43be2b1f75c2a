"""Where a model comes from (bundled, directory, hub) and what it is (fingerprint)."""

from kalm_reranker.checkpoints.checkpoint import Checkpoint
from kalm_reranker.checkpoints.fingerprint import checkpoint_identity, model_fingerprint
from kalm_reranker.checkpoints.known import KNOWN_MODELS, KnownModel
from kalm_reranker.checkpoints.on_disk import is_on_disk, size_on_disk_bytes
from kalm_reranker.checkpoints.resolver import resolve_checkpoint
from kalm_reranker.checkpoints.settings import CascadeSettings, RerankerSettings

__all__ = [
    "KNOWN_MODELS",
    "CascadeSettings",
    "Checkpoint",
    "KnownModel",
    "RerankerSettings",
    "checkpoint_identity",
    "is_on_disk",
    "model_fingerprint",
    "resolve_checkpoint",
    "size_on_disk_bytes",
]
