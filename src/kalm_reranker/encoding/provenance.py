"""Where passage states come from. Apart from `states`, so that reading it costs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where passage states come from; states of another origin must not be scored together.

    Args:
        model_fingerprint: Hash of the model's config, tokenizer and weights.
        template_version: Version of the document text.
        max_length: Tokens at which passages were cut, or of a window.
        dtype: Dtype the encoder ran in, such as "float32".
        special_tokens: What special-token text in passages became, "control" or "text".
        long_documents: What became of passages of more than `max_length` tokens: "truncate" or
            "windows".
    """

    model_fingerprint: str
    template_version: int
    max_length: int
    dtype: str
    special_tokens: str = "control"
    long_documents: str = "truncate"

    @property
    def window(self) -> int | None:
        """Tokens of a window; None where passages were cut instead."""
        return self.max_length if self.long_documents == "windows" else None
