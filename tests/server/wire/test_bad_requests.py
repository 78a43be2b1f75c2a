"""What makes no sense is refused, with the field at fault, whatever JSON it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalm_reranker.errors import RequestTooLargeError
from kalm_reranker.server.request_errors import InvalidRequestError
from kalm_reranker.server.wire.passage_request import read_flag, read_ids, read_passages
from kalm_reranker.server.wire.rerank_request import read_rerank
from kalm_reranker.server.wire.score_request import read_score
from kalm_reranker.server.wire.search_request import read_search
from tests.server.wire import bad_requests

READERS = {
    "RERANK": lambda body: read_rerank(body, max_documents=10),
    "SCORE": lambda body: read_score(body, max_pairs=10),
    "SEARCH": lambda body: read_search(body, max_results=100),
    "PASSAGES": lambda body: read_passages(body, max_passages=10),
}
CASES = [
    pytest.param(READERS[kind], *case, id=f"{kind.lower()}-{number}")
    for kind in READERS
    for number, case in enumerate(getattr(bad_requests, kind))
]


@pytest.mark.parametrize(("read", "body", "param", "words"), CASES)
def test_it_is_refused_in_words(read, body, param, words):
    with pytest.raises(InvalidRequestError) as caught:
        read(body)
    assert caught.value.param == param
    assert words in caught.value.message
    assert len(str(caught.value)) < 500
    str(caught.value).encode("utf-8")


_TEXT = st.text(st.characters(), max_size=5) | st.sampled_from(["\ud800", "\0", " ", "right"])
_SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), _TEXT, st.just(2**70)
)
_JSON = st.recursive(
    _SCALAR,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "id", "query", "document", "$gt", "\ud800"]) | _TEXT,
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
_NAMES = st.sampled_from(
    [
        *("query", "documents", "texts", "queries", "items", "text_1", "text_2", "pairs"),
        *("top_n", "top_k", "rank_fields", "compression_ratio", "truncate", "model", "filter"),
        *("candidates", "min_score", "passages", "id", "text", "metadata", "return_documents"),
        *("max_tokens_per_doc", "truncate_prompt_tokens", "truncation_direction", "relevant_spans"),
    ]
)


@pytest.mark.parametrize("kind", READERS)
@given(body=st.dictionaries(_NAMES | _TEXT, _JSON | st.just("text") | st.just(["a"]), max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_json_is_read_or_refused(kind, body):
    try:
        READERS[kind](body)
    except (InvalidRequestError, RequestTooLargeError) as error:
        str(error).encode("utf-8")


def test_ids_of_an_address():
    assert read_ids(["a", "b", "a"], max_ids=3) == ("a", "b")
    with pytest.raises(InvalidRequestError, match="id is required"):
        read_ids([], max_ids=3)
    with pytest.raises(InvalidRequestError, match="NUL"):
        read_ids(["a\0"], max_ids=3)
    with pytest.raises(RequestTooLargeError, match=r"at most 1 ids .* got 2"):
        read_ids(["a", "b"], max_ids=1)


def test_flags_of_an_address():
    assert [read_flag(given, "missing_ok") for given in (None, "false", "true")] == [
        *(False, False, True)
    ]
    with pytest.raises(InvalidRequestError, match="missing_ok must be true or false; got '1'"):
        read_flag("1", "missing_ok")


@pytest.mark.parametrize("name", ["top_k", "top_n", "candidates"])
def test_more_results_than_allowed(name):
    with pytest.raises(RequestTooLargeError, match=f"{name} must be at most 100 .* got 101"):
        read_search({"query": "q", name: 101}, max_results=100)


def test_more_passages_or_pairs_than_allowed():
    with pytest.raises(RequestTooLargeError, match="at most 10 passages"):
        READERS["PASSAGES"]({"passages": [{}] * 11})
    with pytest.raises(RequestTooLargeError, match="at most 10 pairs"):
        READERS["SCORE"]({"pairs": [[]] * 11})
    with pytest.raises(RequestTooLargeError, match="at most 10 documents"):
        READERS["SCORE"]({"queries": "q", "documents": [""] * 11})
