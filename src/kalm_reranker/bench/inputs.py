"""Texts of an exact number of tokens, the same ones at every run."""

import random
from collections.abc import Callable

from kalm_reranker.encoding.tokenizer import RerankerTokenizer
from kalm_reranker.errors import InvalidOptionError

_WORDS = (
    "water stone light river house time world people small great night green letter music number "
    "paper story window garden market winter summer animal table money power ship road field "
    "plant glass metal horse bird fish tree north south east west road king city party school"
).split()
_ATTEMPTS = 200  # words put in or taken out before a length counts as out of reach


def passage_texts(tokenizer: RerankerTokenizer, *, count: int, length: int, seed: int) -> list[str]:
    """Returns distinct passages whose encoder input, prefix included, has `length` tokens.

    Raises:
        InvalidOptionError: The prefix alone is as long.
    """

    def tokens(text: str) -> int:
        return len(tokenizer.encode_documents([text], length + _ATTEMPTS)[0].ids)

    draw = random.Random(seed)
    return [_text(tokens, length, draw, "--lengths") for _ in range(count)]


def query_text(tokenizer: RerankerTokenizer, *, length: int, seed: int) -> str:
    """Returns a query of `length` tokens, the prompt around it not counted.

    Raises:
        InvalidOptionError: No text has so few tokens.
    """
    return _text(tokenizer.count_tokens, length, random.Random(seed), "--query-tokens")


def _text(tokens: Callable[[str], int], length: int, draw: random.Random, option: str) -> str:
    """Returns drawn words of `length` tokens: first about as many, then word by word."""
    words: list[str] = []
    for _ in range(3):  # words have about a token each, so this comes close at once
        missing = length - tokens(" ".join(words))
        words = words[:missing] if missing < 0 else words + draw.choices(_WORDS, k=missing)
    for _ in range(_ATTEMPTS):
        found = tokens(" ".join(words))
        if found == length:
            return " ".join(words)
        if found > length and words:
            words.pop()
        else:
            words.append(draw.choice(_WORDS))
    raise InvalidOptionError(
        f"{option}: no text of exactly {length} tokens was found with this tokenizer; an empty "
        f"one has {tokens('')}.",
        hint="Ask for a larger number.",
    )
