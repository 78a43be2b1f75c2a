import pytest

from kalm_reranker.encoding.texts import check_documents, check_pairs, check_query, check_text
from kalm_reranker.errors import InvalidPairError, InvalidTextError, TextTypeError


@pytest.mark.parametrize("text", ["", " ", "a\x00b", "\u202e", "日本語", "😀"])
def test_any_utf8_text_is_a_document(text):
    assert check_text(text, "document") == text
    assert check_documents([text]) == [text]


@pytest.mark.parametrize("value", [None, 3, b"bytes", ["nested"]])
def test_non_strings_are_refused_by_place(value):
    with pytest.raises(TextTypeError, match=r"documents\[1\] must be a string; got "):
        check_documents(["fine", value])


def test_lone_surrogates_are_refused_with_their_position():
    with pytest.raises(
        InvalidTextError, match=r"query holds a lone surrogate '\\udc80' at position 2"
    ):
        check_query("ab\udc80")


@pytest.mark.parametrize("query", ["", " \n\t"])
def test_empty_queries_are_refused(query):
    with pytest.raises(InvalidTextError, match="query must hold some text"):
        check_query(query)


@pytest.mark.parametrize("documents", ["one string", None, 5, {"a": 1}])
def test_documents_must_be_a_list(documents):
    with pytest.raises(TextTypeError, match="documents must be a list of strings"):
        check_documents(documents)


@pytest.mark.parametrize(
    ("pair", "got"),
    [
        (("q", "d", "x"), "3 elements"),
        (("q",), "1 elements"),
        ("qd", "str"),
        (None, "NoneType"),
        ({"query": "q"}, "dict"),
    ],
)
def test_what_is_no_pair_is_refused(pair, got):
    with pytest.raises(InvalidPairError, match=rf"pairs\[1\] must be .*; got {got}"):
        check_pairs([("q", "d"), pair])


def test_pairs_must_be_a_list():
    with pytest.raises(InvalidPairError, match="pairs must be a list"):
        check_pairs("qd")
    assert check_pairs([["q", "d"]]) == [("q", "d")]
