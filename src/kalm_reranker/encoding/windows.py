"""Long documents as windows: what each one holds, and what follows from a number of tokens.

Every window but a document's last has exactly `max_length` tokens, and compression ratios divide
`max_length`. So the pooled states of all windows, one after another, are laid out as those of one
passage with the tokens of all windows: no slot spans two of them, pooling them further needs to
know nothing of windows, and where each begins follows from the number of tokens alone.
"""

from collections.abc import Sequence
from typing import get_args

from kalm_reranker.errors import InvalidOptionError, InvalidRatioError
from kalm_reranker.options import LongDocuments

# Of `max_length`: what a window repeats of the one before, so that a sentence on the border stands
# whole in one of them.
_OVERLAP_SHARE = 8


def check_long_documents(value: object) -> LongDocuments:
    """Returns what becomes of documents beyond the length limit.

    Raises:
        InvalidOptionError: It is neither "truncate" nor "windows".
    """
    if value not in get_args(LongDocuments):
        raise InvalidOptionError(
            f"long_documents must be one of {', '.join(map(repr, get_args(LongDocuments)))}; "
            f"got {value!r}."
        )
    return value  # type: ignore[return-value]


def check_window_length(max_length: int, prefix_length: int) -> None:
    """Refuses windows that hold nothing new.

    Args:
        max_length: Tokens of a window.
        prefix_length: Tokens that every window begins with.

    Raises:
        InvalidOptionError: The prefix and the overlap leave no room.
    """
    if _step(max_length, prefix_length) < 1:
        raise InvalidOptionError(
            f"max_length must be above {prefix_length} with long_documents='windows', since every "
            f"window begins with the {prefix_length} tokens of the template; got {max_length}."
        )


def check_window_ratio(ratio: int, max_length: int) -> None:
    """Refuses a compression ratio at which a slot would span two windows.

    Raises:
        InvalidRatioError: The ratio does not divide `max_length`.
    """
    if max_length % ratio:
        below = max_length - max_length % ratio
        instead = f", or max_length={below}" if below else ""
        raise InvalidRatioError(
            "compression_ratio must divide max_length with long_documents='windows'; got "
            f"{ratio} and {max_length}.",
            hint=f"Choose a ratio that divides {max_length}{instead}.",
        )


def split_into_windows(
    ids: Sequence[int], prefix: Sequence[int], max_length: int
) -> list[list[int]]:
    """Returns the encoder inputs of a document: itself, or windows of it if it is too long.

    Args:
        ids: Encoder input of the whole document.
        prefix: What every window begins with, as the document does.
        max_length: Tokens of each window but the last, which has what is left.

    Returns:
        Windows in the order of the document. Each token is in one of them; neighbours share
        max_length // 8 tokens besides the prefix.
    """
    if len(ids) <= max_length:
        return [list(ids)]
    room = max_length - len(prefix)
    step = _step(max_length, len(prefix))
    windows = [list(ids[:max_length])]
    start = len(prefix)
    while start + room < len(ids):
        start += step
        windows.append([*prefix, *ids[start : start + room]])
    return windows


def num_windows(token_count: int, max_length: int) -> int:
    """Returns how many windows a passage has, from the tokens of all of them."""
    return -(-token_count // max_length)


def window_token_counts(token_count: int, max_length: int) -> list[int]:
    """Returns the tokens of each window of a passage, from the tokens of all of them."""
    full = num_windows(token_count, max_length) - 1
    return [max_length] * full + [token_count - full * max_length]


def _step(max_length: int, prefix_length: int) -> int:
    """Tokens from the beginning of a window to that of the next."""
    return max_length - prefix_length - max_length // _OVERLAP_SHARE
