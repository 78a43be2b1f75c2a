"""The text the model was trained on: the only place that knows the prompt.

Source: the prompt template of the official model cards (KaLM-Reranker-V1-Nano).
"""

# Stored beside passage states. Raise it whenever `document_text` changes: states made with
# another template must not be scored.
TEMPLATE_VERSION = 1

DEFAULT_SYSTEM_INSTRUCTION = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".'
)
DEFAULT_INSTRUCTION = "Given a query, retrieve documents that answer the query."

YES_WORD = "yes"
NO_WORD = "no"

# Special tokens that the template writes as text; a checkpoint's tokenizer must know each of them.
TEMPLATE_TOKENS = ("<bos>", "<start_of_turn>", "<end_of_turn>")


def document_text(document: str) -> str:
    """Returns the encoder text of a passage. No special tokens are added to it."""
    return f"<Document>: {document}"


def prompt_text(query: str, *, instruction: str, system_instruction: str) -> str:
    """Returns the decoder text. Its special tokens are written out; none are added to it."""
    return (
        f"<bos><start_of_turn>user\n{system_instruction}\n\n"
        f"<Instruct>: {instruction}\n"
        f"<Query>: {query}<end_of_turn>\n"
        f"<start_of_turn>model\n\n\n\n"
    )
