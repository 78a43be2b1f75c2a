"""Our models by name, for `mteb.evaluate`, `mteb.get_model` and leaderboard runs."""

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from kalm_reranker.checkpoints import KNOWN_MODELS, resolve_checkpoint
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.extras import import_extra
from kalm_reranker.integrations.mteb_meta import content_revision, describe
from kalm_reranker.integrations.mteb_meta import model_name as name_of
from kalm_reranker.integrations.mteb_model import KaLMCrossEncoder, MtebModel
from kalm_reranker.integrations.mteb_search import DEFAULT_CANDIDATES, KaLMSearch

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta

MtebProtocol: TypeAlias = Literal["cross-encoder", "search"]

_LOADERS: dict[MtebProtocol, type[MtebModel]] = {
    "cross-encoder": KaLMCrossEncoder,
    "search": KaLMSearch,
}


def model_meta(
    model: str = "pico",
    *,
    protocol: MtebProtocol = "cross-encoder",
    name: str | None = None,
    revision: str | None = None,
    **settings: Any,  # noqa: ANN401
) -> "ModelMeta":
    """Returns an mteb description that loads a model into our engine; nothing is loaded yet.

    Args:
        model: A short name, a checkpoint directory, or a hub id.
        protocol: "cross-encoder" (`KaLMCrossEncoder`) or "search" (`KaLMSearch`).
        name: What mteb calls it, `organization/model`; its hub id, or `kalm-reranker/NAME` for a
            model that is not on the hub, if not given.
        revision: Commit on the hub; the one mteb knows, if it knows the model, else the newest.
            Of a model that is not on the hub: a hash of its files, if not given.
        settings: Of the wrapper, see `MtebModel`.

    Raises:
        InvalidOptionError: `protocol` is neither, or `name` has not two parts.
        CheckpointError: A model that is not on the hub cannot be found or used.
        MissingExtraError: mteb is not installed.

    Example:
        >>> model_meta("nano").name
        'KaLM-Embedding/KaLM-Reranker-V1-Nano'
    """
    if protocol not in _LOADERS:
        raise InvalidOptionError(
            f"protocol must be one of {', '.join(_LOADERS)}; got {protocol!r}."
        )
    if name is not None and name.count("/") != 1:
        raise InvalidOptionError(f"name must be organization/model; got {name!r}.")
    if protocol == "search":
        settings = {"num_candidates": DEFAULT_CANDIDATES, **settings}
    hub_id = _hub_id(model)
    if hub_id is None:
        checkpoint = resolve_checkpoint(model)
        settings = {"checkpoint": str(model), **settings}
        name = name or name_of(checkpoint)
        revision = revision or content_revision(checkpoint)
    elif name is not None and name != hub_id:
        settings = {"checkpoint": hub_id, **settings}
    name = name or hub_id
    assert name is not None  # one of the two branches gave it
    models = import_extra("mteb.models.model_implementations", extra="eval", purpose="an mteb run")
    if revision is None and name in models.MODEL_REGISTRY:
        revision = models.MODEL_REGISTRY[name].revision
    return describe(name, revision, _LOADERS[protocol], settings)


def register_models(
    *models: str,
    protocol: MtebProtocol = "cross-encoder",
    **settings: Any,  # noqa: ANN401
) -> list[str]:
    """Has `mteb.get_model` load models into our engine, in this process.

    For programs that name models by text. Official names then stand for our wrapper.

    Args:
        models: As `model` in `model_meta`; all that have a short name, if none is given.
        protocol: As in `model_meta`.
        settings: As in `model_meta`.

    Returns:
        The names in mteb.

    Raises:
        KalmRerankerError: As in `model_meta`.
    """
    registry = import_extra(
        "mteb.models.model_implementations", extra="eval", purpose="an mteb run"
    ).MODEL_REGISTRY
    metas = [model_meta(model, protocol=protocol, **settings) for model in models or KNOWN_MODELS]
    named = {str(meta.name): meta for meta in metas}
    registry.update(named)
    return list(named)


def _hub_id(model: str) -> str | None:
    """Returns the repository a name stands for; None for what is on this machine."""
    from os.path import expanduser, isdir

    if model in KNOWN_MODELS:
        return KNOWN_MODELS[model].hub_id
    return None if isdir(expanduser(model)) or model.count("/") != 1 else model
