"""The text the model was trained on: the only place that knows the prompt.

Source: the prompt template of the official model cards (KaLM-Reranker-V1-Nano).
"""

from typing import NamedTuple

# Stored beside passage states. Raise it whenever `document_text` changes: states made with
# another template must not be scored.
TEMPLATE_VERSION = 1

DEFAULT_SYSTEM_INSTRUCTION = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".'
)
DEFAULT_INSTRUCTION = "Given a query, retrieve documents that answer the query."

# What every encoder text begins with, but for the space that follows: tokenizers merge that with
# the document's first word.
DOCUMENT_PREFIX = "<Document>:"

YES_WORD = "yes"
NO_WORD = "no"

# Special tokens that the template writes as text; a checkpoint's tokenizer must know each of them.
TEMPLATE_TOKENS = ("<bos>", "<start_of_turn>", "<end_of_turn>")


class Segment(NamedTuple):
    """A piece of the decoder text: a special token of the template, or text between them."""

    text: str
    is_template_token: bool


def document_text(document: str) -> str:
    """Returns the encoder text of a passage. No special tokens are added to it."""
    return f"{DOCUMENT_PREFIX} {document}"


def prompt_segments(
    query: str, *, instruction: str, system_instruction: str
) -> tuple[Segment, ...]:
    """Returns the decoder text in pieces, so that its own special tokens can be told from others.

    Joined, the pieces are the prompt; no special tokens are added to it.
    """
    *before, opening = prefix_segments(
        instruction=instruction, system_instruction=system_instruction
    )
    start, end = (Segment(token, True) for token in TEMPLATE_TOKENS[1:])
    return (
        *before,
        Segment(f"{opening.text} {query}", False),
        end,
        Segment("\n", False),
        start,
        Segment("model\n\n\n\n", False),
    )


def prefix_segments(*, instruction: str, system_instruction: str) -> tuple[Segment, ...]:
    """Returns the pieces of the decoder text before the query and the space that precedes it.

    The space is left out since tokenizers merge it with the query's first word.
    """
    bos, start, _ = (Segment(token, True) for token in TEMPLATE_TOKENS)
    request = f"user\n{system_instruction}\n\n<Instruct>: {instruction}\n<Query>:"
    return bos, start, Segment(request, False)


def prompt_text(query: str, *, instruction: str, system_instruction: str) -> str:
    """Returns the decoder text as one string."""
    segments = prompt_segments(
        query, instruction=instruction, system_instruction=system_instruction
    )
    return "".join(segment.text for segment in segments)
