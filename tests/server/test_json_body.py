"""What is refused in a body, and what is not."""

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalm_reranker.server.json_body import MAX_DEPTH, parse_json
from kalm_reranker.server.request_errors import InvalidRequestError

REFUSED = {
    "empty": (b"", "empty"),
    "white space": (b" \n\t", "empty"),
    "array": (b"[1]", "object; got an array"),
    "string": (b'"query"', "object; got a string"),
    "number": (b"1.5", "object; got a number"),
    "null": (b"null", "object; got null"),
    "true": (b"true", "object; got true or false"),
    "truncated object": (b'{"query": "a"', "not valid JSON"),
    "truncated string": (b'{"query": "a', "not valid JSON"),
    "truncated escape": (b'{"query": "\\u00', "not valid JSON"),
    "truncated word": (b'{"query": tru', "not valid JSON"),
    "two values": (b"{} {}", "not valid JSON"),
    "trailing comma": (b'{"a": 1,}', "not valid JSON"),
    "single quotes": (b"{'a': 1}", "not valid JSON"),
    "comment": (b'{"a": 1} // one', "not valid JSON"),
    "control character": (b'{"a": "x\ny"}', "not valid JSON"),
    "NUL": (b'{"a": "x\x00y"}', "not valid JSON"),
    "leading zero": (b'{"a": 01}', "not valid JSON"),
    "plus sign": (b'{"a": +1}', "not valid JSON"),
    "hexadecimal": (b'{"a": 0x10}', "not valid JSON"),
    "NaN": (b'{"a": NaN}', "no NaN"),
    "Infinity": (b'{"a": [Infinity]}', "no Infinity"),
    "-Infinity": (b'{"a": -Infinity}', "no -Infinity"),
    "infinite float": (b'{"a": 1e999}', "too large for a 64-bit float"),
    "huge integer": (b'{"a": ' + b"9" * 10_000 + b"}", "numbers may have 400 characters"),
    "huge fraction": (b'{"a": 0.' + b"1" * 10_000 + b"}", "numbers may have 400 characters"),
    "key twice": (b'{"query": "a", "query": "b"}', "'query' is in the same JSON object twice"),
    "inner key twice": (b'{"a": [{"b": 1, "b": 2}]}', "'b' is in the same JSON object twice"),
    "escaped key twice": (b'{"a": 1, "\\u0061": 2}', "'a' is in the same JSON object twice"),
    "byte order mark": (b"\xef\xbb\xbf{}", "byte order mark"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "byte order mark"),
    "UTF-16 without a mark": ('{"a": "b"}'.encode("utf-16-le"), "not valid JSON"),
    "UTF-32": ('{"a": 1}'.encode("utf-32-be"), "not valid JSON"),
    "Latin-1": ('{"a": "é"}'.encode("latin-1"), "not UTF-8: byte 7"),
    "overlong UTF-8": (b'{"a": "\xc0\xaf"}', "not UTF-8"),
    "surrogate in UTF-8": (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
    "half a surrogate pair": (b'{"a": "\\ud83d"}', "half of a character"),
    "halves in the wrong order": (b'{"a": "\\ude00\\ud83d"}', "half of a character"),
    "half a pair in a key": (b'{"\\udead": 1}', "half of a character"),
    "deep arrays": (b'{"a": ' + b"[" * 100_000, f"nested {MAX_DEPTH} levels deep"),
    "deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "levels deep"),
    "many empty arrays": (b'{"a": [' + b"[]," * 300_000 + b"[]]}", "at most 200,000 JSON values"),
    "many small objects": (b'{"a": [' + b'{"":0},' * 300_000 + b"0]}", "at most 200,000"),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "not UTF-8"),
    "form": (b"query=a&documents=b", "not valid JSON"),
}


@pytest.mark.parametrize(("body", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(body, message):
    with pytest.raises(InvalidRequestError, match=message) as caught:
        parse_json(body)
    assert caught.value.code == "invalid_json"


def test_depth_is_counted_outside_of_strings_only():
    text = "[{" * 1000 + '\\"]' + "," * 300_000
    assert parse_json(json.dumps({"a": text}).encode()) == {"a": text}


def test_the_deepest_that_is_allowed_is_allowed():
    inner = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    assert parse_json(b'{"a": ' + inner + b"}")
    with pytest.raises(InvalidRequestError, match="levels deep"):
        parse_json(b'{"a": [' + inner + b"]}")


def test_surrogate_pairs_are_characters():
    assert parse_json(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}
    assert parse_json('{"a": "\U0001f600"}'.encode()) == {"a": "\U0001f600"}
    assert parse_json(b'{"a": "\\\\ud83d"}') == {"a": "\\ud83d"}  # an escaped backslash


def test_numbers_of_metadata_are_kept():
    body = {"a": 2**200, "b": -(2**63), "c": 1e-300, "d": 0.1, "e": [True, False, None]}
    assert parse_json(json.dumps(body).encode()) == body


@pytest.mark.parametrize(
    "unit", [b"\\", b'\\"', b'"', b'"a":', b"a", b"[", b"-", b"1", b"\\u", b'"\\ud800",']
)
def test_no_body_takes_more_than_linear_time(unit):
    started = time.perf_counter()
    for start in (b'{"a": "', b'{"a": ', b"["):
        with pytest.raises(InvalidRequestError):
            parse_json(start + unit * (2_000_000 // len(unit)))
    assert time.perf_counter() - started < 5


SENDABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**50), 10**50)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), SENDABLE), st.booleans())
def test_whatever_json_can_say_comes_back(value, ascii_only):
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_bytes_are_parsed_or_refused(body):
    with suppress(InvalidRequestError):
        assert isinstance(parse_json(body), dict)
