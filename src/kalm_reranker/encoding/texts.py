"""Checks on the texts that callers give, before anything is tokenised."""

from collections.abc import Sequence

from kalm_reranker.errors import InvalidPairError, InvalidTextError, TextTypeError


def check_text(text: object, what: str) -> str:
    """Returns `text` if it is a string that can be encoded as UTF-8.

    Args:
        text: The value given.
        what: How messages name it, such as "query" or "documents[3]".

    Raises:
        TextTypeError: It is not a string.
        InvalidTextError: It holds a lone surrogate, which no tokenizer can read.
    """
    if not isinstance(text, str):
        raise TextTypeError(f"{what} must be a string; got {type(text).__name__}.")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidTextError(
                f"{what} holds a lone surrogate {text[error.start]!a} at position {error.start}; "
                "allowed is any text that can be written as UTF-8.",
                hint="It usually comes from decoding bytes with errors='surrogateescape'; decode "
                "with errors='replace' instead.",
            ) from None
    return text


def check_query(query: object, what: str = "query") -> str:
    """Returns `query` if it is a string with something in it.

    Raises:
        TextTypeError: It is not a string.
        InvalidTextError: It is empty or white space, or cannot be encoded.
    """
    text = check_text(query, what)
    if not text.strip():
        raise InvalidTextError(f"{what} must hold some text; got {text!r}.")
    return text


def check_documents(documents: object) -> list[str]:
    """Returns `documents` as a list of strings. An empty document is allowed, as in the reference.

    Raises:
        TextTypeError: Not a sequence of strings.
        InvalidTextError: A document cannot be encoded.
    """
    if isinstance(documents, str) or not isinstance(documents, Sequence):
        raise TextTypeError(
            f"documents must be a list of strings; got {type(documents).__name__}.",
            hint="Put a single document into a list: [document]."
            if isinstance(documents, str)
            else "Pass list(documents).",
        )
    return [check_text(document, f"documents[{i}]") for i, document in enumerate(documents)]


def check_pairs(pairs: object) -> list[tuple[str, str]]:
    """Returns `pairs` as a list of (query, document).

    Raises:
        InvalidPairError: Not a list, or an element is not a pair.
        InvalidTextError: A text cannot be read, or a query is empty.
    """
    if isinstance(pairs, str) or not isinstance(pairs, Sequence):
        raise InvalidPairError(
            f"pairs must be a list of (query, document) pairs; got {type(pairs).__name__}.",
            hint="Pass list(pairs).",
        )
    return [_check_pair(pair, f"pairs[{index}]") for index, pair in enumerate(pairs)]


def _check_pair(pair: object, what: str) -> tuple[str, str]:
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        got = f"{len(pair)} elements" if isinstance(pair, tuple | list) else type(pair).__name__
        raise InvalidPairError(
            f"{what} must be a (query, document) pair; got {got}.",
            hint="Wrap a single pair in a list: predict([(query, document)]).",
        )
    query, document = pair
    return check_query(query, f"{what} query"), check_text(document, f"{what} document")
