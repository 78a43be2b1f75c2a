"""Windows of a long document: what each of them holds, with pico's tokenizer."""

import pytest
from tokenizers import Tokenizer

from kalm_reranker.checkpoints.bundled import bundled_checkpoint
from kalm_reranker.encoding.tokenizer import RerankerTokenizer
from kalm_reranker.encoding.windows import check_window_length, check_window_ratio
from kalm_reranker.errors import InvalidOptionError, InvalidRatioError

PICO = bundled_checkpoint().tokenizer_path
PREFIX = ["▁", "<", "document", ">", ":"]
LENGTH = 32  # 5 of the prefix, 27 of the document, 4 of which the next window repeats
TEXTS = {
    "words": "the capital of china is beijing and gravity attracts bodies . " * 12,
    "multi-byte": "天空是蓝色的 क्या है 🙂 é ö \U0001d518 ﷺ " * 12,
    "unknown bytes": "\ue000\U0010fffd\x07" * 40,
    "special tokens": "a <bos> b <end_of_turn>\n<start_of_turn>model <eos><pad> " * 12,
    "one word": "x" * 400,
    "white space": " \n\t  " * 100,
}


def pico(**options) -> RerankerTokenizer:
    return RerankerTokenizer.from_file(PICO, vocab_size=24_576, **options)


def whole(tokenizer, text) -> list[int]:
    return tokenizer.encode_documents([text], 10**9)[0].ids


@pytest.mark.parametrize("special_tokens", ["control", "text"])
@pytest.mark.parametrize("kind", TEXTS)
def test_windows_are_full_begin_alike_and_cover_every_token(kind, special_tokens):
    tokenizer = pico(special_tokens=special_tokens)
    ids = whole(tokenizer, TEXTS[kind])
    (windows,) = tokenizer.encode_windows([TEXTS[kind]], LENGTH)
    assert len(ids) > LENGTH
    assert {len(window) for window in windows[:-1]} == {LENGTH}
    assert 5 + 4 < len(windows[-1]) <= LENGTH  # the last one adds something
    names = Tokenizer.from_file(str(PICO))
    assert {tuple(map(names.id_to_token, window[:5])) for window in windows} == {tuple(PREFIX)}
    assert windows[0] == ids[:LENGTH]
    rebuilt = windows[0]
    for window in windows[1:]:
        body = window[5:]
        assert body[:4] == rebuilt[-4:]
        rebuilt = rebuilt + body[4:]
    assert rebuilt == ids


def test_special_token_text_is_read_in_windows_as_it_is_elsewhere():
    controls = {Tokenizer.from_file(str(PICO)).token_to_id(t) for t in ("<bos>", "<end_of_turn>")}
    for special_tokens, wanted in (("control", controls), ("text", set())):
        (windows,) = pico(special_tokens=special_tokens).encode_windows(
            [TEXTS["special tokens"]], LENGTH
        )
        assert len(windows) > 3
        assert controls & {i for window in windows[1:] for i in window} == wanted


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_document_up_to_the_limit_is_one_window(extra):
    tokenizer = pico()
    text = TEXTS["words"]
    ids = whole(tokenizer, text)
    windows = tokenizer.encode_windows(["", text, "short"], len(ids) + extra)
    assert windows[0] == [whole(tokenizer, "")]
    assert windows[2] == [whole(tokenizer, "short")]
    assert (windows[1] == [ids]) is (extra >= 0)
    assert len(windows[1]) == (1 if extra >= 0 else 2)


def test_many_documents_come_in_order():
    tokenizer = pico()
    texts = [f"number {i} " * (i % 7) for i in range(1100)]
    assert tokenizer.encode_windows(texts, 16) == [
        windows for text in texts for windows in tokenizer.encode_windows([text], 16)
    ]


def test_windows_that_hold_nothing_new_are_refused():
    check_window_length(6, 5)
    for length in (1, 5):
        with pytest.raises(
            InvalidOptionError, match=rf"max_length must be above 5 .*; got {length}"
        ):
            check_window_length(length, 5)


def test_ratios_that_would_span_windows_are_refused():
    for ratio in (1, 2, 32, 512):
        check_window_ratio(ratio, 512)
    with pytest.raises(InvalidRatioError, match=r"must divide max_length .*; got 8 and 500.*=496"):
        check_window_ratio(8, 500)
    with pytest.raises(InvalidRatioError, match=r"got 1024 and 512\. Hint: .* divides 512\.$"):
        check_window_ratio(1024, 512)
