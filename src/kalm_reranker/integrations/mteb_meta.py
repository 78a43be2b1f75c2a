"""What mteb is told about a model: its `ModelMeta`, with our loader in it."""

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from kalm_reranker.checkpoints import Checkpoint, model_fingerprint
from kalm_reranker.extras import import_extra

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta

# Names in mteb have two parts; for models that are not on the hub this is the first.
_ORGANISATION = "kalm-reranker"

# Settings that leave scores alone but for rounding. All others name an experiment of their own in
# mteb, so that its results are not taken for those of the plain model.
_NEUTRAL = frozenset(
    {
        *("checkpoint", "states_folder", "stored_ratio", "device", "token", "cache_dir"),
        *("local_files_only", "batch_size", "token_budget", "threads", "prefix_cache_bytes"),
        *("deterministic", "engine", "encode"),
    }
)


def model_name(checkpoint: Checkpoint) -> str:
    """Returns a model's name in mteb: its hub id, or `kalm-reranker/NAME` where it has none."""
    name = checkpoint.name
    return name if checkpoint.source == "hub" else f"{_ORGANISATION}/{name}"


def content_revision(checkpoint: Checkpoint) -> str:
    """Returns what tells this version of a model from others.

    The commit of a model on the hub; of other models a hash of their files. Without it, mteb would
    take results of older weights under the same name for results of these.
    """
    return checkpoint.revision or model_fingerprint(checkpoint)


def describe(
    name: str,
    revision: str | None,
    loader: Callable[..., Any],
    settings: Mapping[str, Any],
) -> "ModelMeta":
    """Returns a model's description with our loader in it.

    What mteb knows of an official model (languages, training data, licence, ...) is kept.

    Args:
        name: Hub id, or `kalm-reranker/NAME`.
        revision: Commit, or hash of the files.
        loader: What mteb calls with name, revision and settings.
        settings: Of the loader. Those that change scores become mteb's `experiment_kwargs`.

    Raises:
        MissingExtraError: mteb is not installed.
    """
    models = import_extra("mteb.models.model_implementations", extra="eval", purpose="an mteb run")
    metas = import_extra("mteb.models.model_meta", extra="eval", purpose="an mteb run")
    # mteb writes them as JSON, and makes a name of the second.
    plain = {
        key: str(value) if isinstance(value, PurePath) else value for key, value in settings.items()
    }
    neutral = {key: value for key, value in plain.items() if key in _NEUTRAL}
    telling = {key: value for key, value in plain.items() if key not in _NEUTRAL}
    ours: dict[str, Any] = {
        "loader": loader,
        "loader_kwargs": neutral,
        "experiment_kwargs": telling or None,
        "revision": revision,
        "framework": ["PyTorch", "safetensors"],
    }
    known = models.MODEL_REGISTRY.get(name)
    if known is not None:
        return known.model_copy(update=ours)  # type: ignore[no-any-return]
    unknown = dict.fromkeys(
        (
            *("release_date", "languages", "n_parameters", "memory_usage_mb", "max_tokens"),
            *("embed_dim", "license", "open_weights", "public_training_code"),
            *("public_training_data", "similarity_fn_name", "training_datasets"),
        )
    )
    return metas.ModelMeta(  # type: ignore[no-any-return]
        name=name, use_instructions=True, model_type=["cross-encoder"], **ours, **unknown
    )
