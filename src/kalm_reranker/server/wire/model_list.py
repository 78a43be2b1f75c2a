"""GET /v1/models, as OpenAI's API has it."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from kalm_reranker.server.answering import ModelFacts
from kalm_reranker.server.request_errors import UnknownModelError
from kalm_reranker.server.settings import ServerSettings
from kalm_reranker.server.wire.model_names import answered_name, served_names

_OWNER = "kalm-reranker"


class ServedModel(BaseModel):
    """A name for the model."""

    id: str
    object: Literal["model"]
    created: int = Field(description="When it was loaded, in Unix time.")
    owned_by: str
    root: str = Field(description="The model's own name.")
    max_model_len: int = Field(description="Tokens a document is cut at.", ge=1)
    query_max_length: int = Field(description="Tokens a query is cut at.", ge=1)
    compression_ratio: int = Field(description="Tokens per passage state.", ge=1)


class ModelList(BaseModel):
    """All names of the model."""

    object: Literal["list"]
    data: list[ServedModel]


def render_models(facts: ModelFacts, settings: ServerSettings) -> dict[str, Any]:
    """Returns a `ModelList`."""
    return {
        "object": "list",
        "data": [_model(name, facts) for name in served_names(facts, settings)],
    }


def render_model(name: str, facts: ModelFacts, settings: ServerSettings) -> dict[str, Any]:
    """Returns a `ServedModel`.

    Raises:
        UnknownModelError: The model has no such name.
    """
    if not name:
        raise UnknownModelError(name, served_names(facts, settings))
    answered_name(name, facts, settings)
    return _model(name, facts)


def _model(name: str, facts: ModelFacts) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": facts.created,
        "owned_by": _OWNER,
        "root": facts.name,
        "max_model_len": facts.max_length,
        "query_max_length": facts.query_max_length,
        "compression_ratio": facts.compression_ratio,
    }
