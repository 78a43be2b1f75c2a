"""Texts to token ids, exactly as the reference does it.

Source: the input format of the official KaLM-Reranker-V1 code: no special tokens are added to
anything, the document text is cut at the right, and a query makes a round trip through its tokens.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from tokenizers import Tokenizer

from kalm_reranker.encoding.windows import split_into_windows
from kalm_reranker.errors import InvalidCheckpointError, InvalidOptionError, InvalidTextError
from kalm_reranker.prompts import (
    DOCUMENT_PREFIX,
    NO_WORD,
    TEMPLATE_TOKENS,
    YES_WORD,
    Segment,
    document_text,
    prefix_segments,
    prompt_segments,
)

SpecialTokens = Literal["control", "text"]

# Texts whose untruncated encodings are in memory together.
_TOKENIZED_AT_ONCE = 1_024

# Instructions whose tokens are remembered; a server's clients may send any number of them.
_PREFIXES_KEPT = 1_024


class TokenizedText(NamedTuple):
    """Token ids, and whether the text they come from was cut."""

    ids: list[int]
    truncated: bool


class RerankerTokenizer:
    """Makes encoder and decoder inputs. Threads may share it: it only remembers prefixes.

    Args:
        tokenizer: A tokenizer with the template's special tokens.
        vocab_size: Rows of the model's embedding table; larger token ids are refused.
        special_tokens: What special-token text inside a query, document or instruction becomes.
            "control" (the reference's behaviour): the control token itself. "text": ordinary
            text, for callers who do not trust their input.

    Raises:
        InvalidCheckpointError: The tokenizer lacks a template token, "yes" or "no".
        InvalidOptionError: `special_tokens` is neither of the two.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, vocab_size: int, special_tokens: SpecialTokens = "control"
    ) -> None:
        if special_tokens not in get_args(SpecialTokens):
            raise InvalidOptionError(
                f"special_tokens must be one of {', '.join(map(repr, get_args(SpecialTokens)))}; "
                f"got {special_tokens!r}."
            )
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._may_exceed_vocab = _largest_id(tokenizer) >= vocab_size
        self.special_tokens = special_tokens
        self._prefixes: dict[tuple[str, str], tuple[int, ...]] = {}
        self._template_ids = {
            token: _template_token_id(tokenizer, token) for token in TEMPLATE_TOKENS
        }
        self.yes_id, self.no_id = _answer_ids(tokenizer)
        self._text_tokenizer = (
            tokenizer
            if special_tokens == "control"
            else _without_special_tokens(tokenizer, set(self._template_ids.values()))
        )
        self.document_prefix = tuple(
            self._text_tokenizer.encode(DOCUMENT_PREFIX, add_special_tokens=False).ids
        )

    @classmethod
    def from_file(
        cls, path: Path, *, vocab_size: int, special_tokens: SpecialTokens = "control"
    ) -> "RerankerTokenizer":
        """Reads a `tokenizer.json`.

        Raises:
            InvalidCheckpointError: The file is missing or damaged, or lacks needed tokens.
        """
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception for every kind of damage
            raise InvalidCheckpointError(
                f"{path} cannot be read as a tokenizer: {error}."
            ) from error
        return cls(tokenizer, vocab_size=vocab_size, special_tokens=special_tokens)

    def encode_documents(self, documents: Sequence[str], max_length: int) -> list[TokenizedText]:
        """Returns the encoder input of each document, cut at `max_length` tokens.

        The limit counts the tokens of the template's prefix, as in the reference.
        """
        return [
            tokenized
            for start in range(0, len(documents), _TOKENIZED_AT_ONCE)
            for tokenized in self._encode_some(
                documents[start : start + _TOKENIZED_AT_ONCE], max_length
            )
        ]

    def encode_windows(self, documents: Sequence[str], max_length: int) -> list[list[list[int]]]:
        """Returns the encoder inputs of each document: one, or a window after another.

        Every window holds at most `max_length` tokens and begins with the template's prefix.
        """
        return [
            split_into_windows(tokenized.ids, self.document_prefix, max_length)
            for start in range(0, len(documents), _TOKENIZED_AT_ONCE)
            for tokenized in self._encode_some(
                documents[start : start + _TOKENIZED_AT_ONCE], sys.maxsize
            )
        ]

    def _encode_some(self, documents: Sequence[str], max_length: int) -> list[TokenizedText]:
        texts = [document_text(document) for document in documents]
        encodings = self._text_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        tokenized = []
        for document, encoding in zip(documents, encodings, strict=True):
            ids = encoding.ids
            cut = len(ids) > max_length
            ids = ids[:max_length] if cut else ids
            if self._may_exceed_vocab:
                self._check_ids(ids, f"the document that begins {document[:40]!r}")
            tokenized.append(TokenizedText(ids, cut))
        return tokenized

    def count_tokens(self, query: str) -> int:
        """Returns how many tokens a query has, before it is cut."""
        return len(self._text_tokenizer.encode(query, add_special_tokens=False).ids)

    def encode_prompt(
        self, query: str, *, instruction: str, system_instruction: str, query_max_length: int
    ) -> TokenizedText:
        """Returns the decoder input for a query; `truncated` says that the query was cut.

        The query is encoded, cut at `query_max_length` tokens and decoded again before it is put
        into the prompt, also when nothing is cut: with some tokenizers the round trip changes
        the text, and the models were trained on its result. Instruction and prompt are never cut.
        """
        ids = self._text_tokenizer.encode(query, add_special_tokens=False).ids
        shown = self._text_tokenizer.decode(ids[:query_max_length], skip_special_tokens=False)
        prompt_ids = self._encode_prompt(shown, instruction, system_instruction)
        if self._may_exceed_vocab:
            self._check_ids(prompt_ids, "query or instruction")
        return TokenizedText(prompt_ids, len(ids) > query_max_length)

    def prompt_prefix(self, *, instruction: str, system_instruction: str) -> tuple[int, ...]:
        """Returns the tokens before the query, as they are without one.

        A prompt need not begin with them: a query can merge with the last characters.
        """
        key = (instruction, system_instruction)
        prefix = self._prefixes.get(key)
        if prefix is None:
            segments = prefix_segments(
                instruction=instruction, system_instruction=system_instruction
            )
            prefix = tuple(self._encode_segments(segments))
            if len(self._prefixes) >= _PREFIXES_KEPT:
                self._prefixes.clear()
            self._prefixes[key] = prefix
        return prefix

    def _encode_prompt(self, query: str, instruction: str, system_instruction: str) -> list[int]:
        return self._encode_segments(
            prompt_segments(query, instruction=instruction, system_instruction=system_instruction)
        )

    def _encode_segments(self, segments: Sequence[Segment]) -> list[int]:
        if self.special_tokens == "control":
            text = "".join(segment.text for segment in segments)
            return list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        ids: list[int] = []
        for text, is_template_token in segments:
            if is_template_token:
                ids.append(self._template_ids[text])
            else:
                ids.extend(self._text_tokenizer.encode(text, add_special_tokens=False).ids)
        return ids

    def _check_ids(self, ids: Sequence[int], what: str) -> None:
        if ids and max(ids) >= self._vocab_size:
            raise InvalidTextError(
                f"{what} holds token id {max(ids)} ({self._tokenizer.id_to_token(max(ids))!r}); "
                f"the model knows ids below {self._vocab_size}.",
                hint="Remove that special token from the text, or set special_tokens='text'.",
            )


def _largest_id(tokenizer: Tokenizer) -> int:
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)


def _template_token_id(tokenizer: Tokenizer, token: str) -> int:
    ids = _probe(tokenizer, token)
    if len(ids) != 1 or tokenizer.id_to_token(ids[0]) != token:
        raise InvalidCheckpointError(
            f"The tokenizer does not know {token!r} as one token; it becomes {len(ids)} tokens.",
            hint="Tokenizer.json must be the one of a KaLM-Reranker-V1 checkpoint.",
        )
    return ids[0]


def _probe(tokenizer: Tokenizer, text: str) -> list[int]:
    try:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)
    except Exception as error:  # tokenizers raises bare Exception
        raise InvalidCheckpointError(f"The tokenizer cannot encode {text!r}: {error}.") from error


def _answer_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """The last token of "yes" and of "no", as the reference reads them."""
    found: dict[str, int] = {}
    for word in (YES_WORD, NO_WORD):
        ids = _probe(tokenizer, word)
        last = tokenizer.id_to_token(ids[-1]) if ids else None
        # A piece of the word (or <unk>, or a byte) would be a logit that was never trained.
        if last is None or not last.endswith(word):
            raise InvalidCheckpointError(
                f"The tokenizer has no token for the answer {word!r}; its last token is {last!r}."
            )
        found[word] = ids[-1]
    return found[YES_WORD], found[NO_WORD]


def _without_special_tokens(tokenizer: Tokenizer, template_ids: set[int]) -> Tokenizer:
    """A copy that reads the text of every special token as ordinary text."""
    spec = json.loads(tokenizer.to_str())
    special = [
        token for token in spec["added_tokens"] if token["special"] or token["id"] in template_ids
    ]
    special_ids = {token["id"] for token in special}
    spec["added_tokens"] = [t for t in spec["added_tokens"] if t["id"] not in special_ids]
    plain = Tokenizer.from_str(json.dumps(spec))
    for token in special:
        ids = plain.encode(token["content"], add_special_tokens=False).ids
        # <unk> is no control token: text that the vocabulary cannot spell becomes it anyway.
        if (special_ids & set(ids)) - {tokenizer.token_to_id("<unk>")}:
            raise InvalidCheckpointError(
                f"special_tokens='text' cannot be had with this tokenizer: the text "
                f"{token['content']!r} stays a control token."
            )
    return plain
