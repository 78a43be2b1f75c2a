"""GET /info: what text-embeddings-inference says of itself, and all limits and facts of ours."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, Field

from kalm_reranker import __version__
from kalm_reranker.server.answering import ModelFacts
from kalm_reranker.server.settings import Limits, ServerSettings
from kalm_reranker.server.wire.model_names import served_names

_LABEL = "LABEL_0"


class ClassLabels(BaseModel):
    """Labels of a reranker: there is one, and nobody reads it."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class ModelType(BaseModel):
    """How text-embeddings-inference says that a model is a reranker."""

    reranker: ClassLabels


class Info(BaseModel):
    """What runs here, and what it takes on."""

    model_id: str
    model_sha: str = Field(description="Hash of config, tokenizer and weights.")
    model_dtype: str
    model_type: ModelType
    max_concurrent_requests: int
    max_input_length: int = Field(description="Tokens a document is cut at.")
    max_batch_tokens: int = Field(description="Tokens of the largest request there can be.")
    max_client_batch_size: int = Field(description="Documents of a request.")
    auto_truncate: bool
    tokenization_workers: int
    version: str
    served_model_names: list[str]
    read_only: bool
    authentication: bool = Field(description="Whether requests need an API key.")
    model: dict[str, Any] = Field(description="Facts of the model, by name.")
    limits: dict[str, int | float] = Field(description="What is taken on at once.")
    counts: dict[str, Any] = Field(description="Running totals; /metrics has them, too.")


def render_info(
    facts: ModelFacts, settings: ServerSettings, counts: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns an `Info`: no secret, no path."""
    limits = settings.limits
    return {
        **_as_tei(facts, limits),
        "served_model_names": list(served_names(facts, settings)),
        "read_only": settings.read_only,
        "authentication": bool(settings.api_keys),
        "model": asdict(facts),
        "limits": asdict(limits),
        "counts": dict(counts),
    }


def _as_tei(facts: ModelFacts, limits: Limits) -> dict[str, Any]:
    return {
        "model_id": facts.name,
        "model_sha": facts.fingerprint,
        "model_dtype": facts.dtype,
        "model_type": {"reranker": {"id2label": {"0": _LABEL}, "label2id": {_LABEL: 0}}},
        "max_concurrent_requests": limits.max_pending_requests,
        "max_input_length": facts.max_length,
        "max_batch_tokens": limits.max_documents * (facts.max_length + facts.query_max_length),
        "max_client_batch_size": limits.max_documents,
        "auto_truncate": True,
        # Each request is tokenised in a thread of its own.
        "tokenization_workers": limits.max_pending_requests,
        "version": __version__,
    }
