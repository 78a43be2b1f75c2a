"""How long the task instructions of requests may be.

A model cuts queries and documents, but no instruction, and reads it for every pair. Attention makes
one of 8,000 tokens cost 20 times as much as one of 1,000, in a step that nothing can interrupt, and
the memory of it as well.
"""

from kalm_reranker.encoding.texts import check_text
from kalm_reranker.encoding.tokenizer import RerankerTokenizer
from kalm_reranker.server.request_errors import InvalidRequestError

_MOST_CHARACTERS_OF_A_TOKEN = 64  # longer than any of the models' vocabulary


def check_instruction(tokenizer: RerankerTokenizer, instruction: str | None, most: int) -> None:
    """Refuses an instruction of more than `most` tokens.

    Raises:
        InvalidRequestError: It has more.
    """
    if instruction is None:
        return
    check_text(instruction, "instruction")
    # What is far too long is not even tokenized.
    if len(instruction) > most * _MOST_CHARACTERS_OF_A_TOKEN or (
        len(instruction.encode()) > most and tokenizer.count_tokens(instruction) > most
    ):
        raise InvalidRequestError(
            f"instruction has more than {most:,} tokens, the most that this server reads.",
            hint="Say in a sentence or two what makes a document relevant.",
            param="instruction",
            code="too_long",
        )
