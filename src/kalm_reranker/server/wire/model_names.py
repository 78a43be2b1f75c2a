"""Names by which requests may call the model."""

from kalm_reranker.checkpoints.known import KNOWN_MODELS, known_by_hub_id
from kalm_reranker.server.answering import ModelFacts
from kalm_reranker.server.request_errors import UnknownModelError
from kalm_reranker.server.settings import ServerSettings

_ANY = "*"
# What Infinity's client says if its user names no model.
_NOT_GIVEN = "default/not-specified"


def served_names(facts: ModelFacts, settings: ServerSettings) -> tuple[str, ...]:
    """Returns all names, the model's own first: short name, hub id, those the settings add."""
    known = KNOWN_MODELS.get(facts.name) or known_by_hub_id(facts.name)
    public = () if known is None else (known.name, known.hub_id)
    names = (facts.name, *public, *settings.served_model_names)
    return tuple(dict.fromkeys(name for name in names if name and name != _ANY))


def answered_name(
    wanted: str | None, facts: ModelFacts, settings: ServerSettings
) -> tuple[str, str | None]:
    """Returns the name to answer by, and a sentence if it is not the model's.

    Args:
        wanted: The request's; None for any. Names are compared as the hub does, without case.
        facts: Of the model.
        settings: Of the server.

    Raises:
        UnknownModelError: The request names another model.
    """
    if not wanted or wanted == _NOT_GIVEN:
        return facts.name, None
    names = served_names(facts, settings)
    if wanted.casefold() in {name.casefold() for name in names}:
        return wanted, None
    if _ANY in settings.served_model_names:
        return wanted, f"The model that answers is {facts.name}, under whatever name."
    raise UnknownModelError(wanted, names)
