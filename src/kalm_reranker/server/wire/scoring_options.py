"""Fields that requests for scores have in common, whichever API they were made for."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, Field

from kalm_reranker.options import UNSET, RatioOption
from kalm_reranker.server.wire.checking import REQUEST_CONFIG
from kalm_reranker.server.wire.fields import Count, Ratio, Side, Text, TokenLimit

# Known from other APIs, and of no meaning here.
_HARMLESS: Final = frozenset(
    {
        *("priority", "user", "request_id", "cache_salt", "max_chunks_per_doc", "overlap_tokens"),
        *("mm_processor_kwargs", "media_io_kwargs", "return_embeddings", "encoding_format"),
    }
)
# Known from other APIs, and not done here, though the answer would be another one.
_NOT_DONE: Final = {
    "relevant_spans": "relevant_spans is not supported: no spans are returned.",
    "max_tokens_per_query": "max_tokens_per_query is not supported: the server's own limit holds.",
    "chat_template": "chat_template is not supported: the model has a prompt of its own.",
    "chat_template_kwargs": "chat_template_kwargs is not supported: the model has a prompt of its "
    "own; its instruction can be set.",
}
_MOST_NAMES = 10


class ScoringOptions(BaseModel):
    """How to score, and what to return beside the score."""

    model_config = REQUEST_CONFIG

    model: Text | None = Field(
        None, description="A name that GET /v1/models lists; the model served, if not given."
    )
    instruction: Text | None = Field(
        None, description="Task instruction; the model's default, if not given."
    )
    compression_ratio: Ratio | None = Field(
        None,
        description='Tokens per passage state; "none" keeps one for each token. The server\'s own, '
        "if not given.",
    )
    return_margin: bool | None = Field(
        None, description="Also return the margin: the logit of yes less that of no."
    )
    raw_scores: bool | None = Field(
        None, description="Return margins as scores, instead of probabilities."
    )
    use_activation: bool | None = Field(
        None, description="vLLM's name: false returns margins as scores."
    )
    truncate: bool | None = Field(
        None, description="Cut texts that are too long (the default); false refuses them."
    )
    truncation: bool | None = Field(None, description="Voyage's name for truncate.")
    max_tokens_per_doc: Count | None = Field(
        None, description="Cut documents sent as text at so many tokens; 0 is the server's limit."
    )
    max_doc_length: Count | None = Field(None, description="Another name for max_tokens_per_doc.")
    truncate_prompt_tokens: TokenLimit | None = Field(
        None,
        description="vLLM's name: documents are cut at so many tokens; -1 is the server's limit.",
    )
    truncation_side: Side | None = Field(None, description="Texts are cut at their end only.")
    truncation_direction: Side | None = Field(None, description="TEI's name for truncation_side.")

    @property
    def ratio(self) -> RatioOption:
        """The ratio as the model takes it: None for no pooling."""
        if self.compression_ratio is None:
            return UNSET
        return None if self.compression_ratio == "none" else self.compression_ratio

    @property
    def margins_as_scores(self) -> bool:
        """Whether scores are to be margins."""
        return bool(self.raw_scores) or self.use_activation is False

    @property
    def cuts(self) -> bool:
        """Whether texts that are too long are cut; whoever says no anywhere is heard."""
        return self.truncate is not False and self.truncation is not False

    @property
    def max_document_tokens(self) -> int | None:
        """The smallest of the limits given; None for the server's own."""
        given = (self.max_tokens_per_doc, self.max_doc_length, self.truncate_prompt_tokens)
        return min((limit for limit in given if limit is not None and limit > 0), default=None)

    @property
    def not_done(self) -> list[str]:
        """What was asked for and is not done, in sentences for the caller."""
        return not_done(self.model_extra or {})


def not_done(extra: Mapping[str, Any]) -> list[str]:
    """Returns sentences about fields that a request has and this server does not know.

    Args:
        extra: Those fields; the ones that are null ask for nothing.
    """
    asked = [name for name, value in extra.items() if value is not None]
    sentences = [_NOT_DONE[name] for name in asked if name in _NOT_DONE]
    unknown = [name for name in asked if name not in _NOT_DONE and name not in _HARMLESS]
    if unknown:
        names = ", ".join(repr(name[:80]) for name in unknown[:_MOST_NAMES])
        more = f" and {len(unknown) - _MOST_NAMES:,} more" if len(unknown) > _MOST_NAMES else ""
        sentences.append(f"Unknown fields have no effect: {names}{more}.")
    return sentences
