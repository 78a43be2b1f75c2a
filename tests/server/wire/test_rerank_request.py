"""POST /rerank: what each client's body asks for."""

import pytest

from kalm_reranker.errors import RequestTooLargeError
from kalm_reranker.options import UNSET
from kalm_reranker.server.calls import DocumentInput
from kalm_reranker.server.wire.rerank_request import is_tei, read_rerank
from tests.server.wire.client_bodies import CLIENTS, DOCUMENTS, QUERY


def read(**body):
    return read_rerank({"query": QUERY, "documents": DOCUMENTS, **body}, max_documents=100)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_clients_body_asks_for_what_it_means(client):
    _, body, expected = CLIENTS[client]
    wanted = read_rerank(body, max_documents=3)
    assert wanted.call.queries == (QUERY,)
    assert wanted.call.documents == tuple(DocumentInput(text=text) for text in DOCUMENTS)
    assert wanted.call.pairs == ((0, 0), (0, 1), (0, 2))
    assert (wanted.top or 3) == expected.results
    assert (wanted.tei, is_tei(body)) == (expected.bare, expected.bare)
    assert wanted.data == expected.data
    assert wanted.return_documents == wanted.call.return_text == expected.documents
    assert wanted.call.truncate == expected.truncate
    assert wanted.call.max_document_tokens == expected.tokens
    assert wanted.call.compression_ratio is UNSET
    assert not wanted.remarks
    assert not wanted.margins_as_scores


def test_nulls_are_as_good_as_nothing():
    names = (
        *("model", "instruction", "compression_ratio", "return_margin", "raw_scores", "texts"),
        *("use_activation", "truncate", "truncation_side", "max_tokens_per_doc", "top_n"),
        *("max_doc_length", "truncate_prompt_tokens", "truncation_direction", "rank_fields"),
        *("return_documents", "priority", "relevant_spans", "unknown"),
    )
    assert read(**dict.fromkeys(names)) == read()


@pytest.mark.parametrize(
    ("fields", "top"),
    [
        ({"top_n": 2}, 2),
        ({"top_k": 2}, 2),
        ({"top_n": 0, "top_k": 2}, 2),
        ({"top_n": 1, "top_k": 2}, 1),
        ({"top_n": 0}, None),
        ({"top_n": 2**53 - 1}, 2**53 - 1),
        ({"top_n": 2.0}, 2),  # to JSON Schema, 2.0 is an integer
    ],
)
def test_how_many_results_are_wanted(fields, top):
    assert read(**fields).top == top


@pytest.mark.parametrize(
    ("given", "ratio"), [(None, UNSET), ("none", None), (1, 1), (4, 4), (4.0, 4)]
)
def test_ratios(given, ratio):
    assert read(compression_ratio=given).call.compression_ratio == ratio


@pytest.mark.parametrize(
    ("fields", "cuts", "tokens"),
    [
        ({"truncate": False}, False, None),
        ({"truncation": False}, False, None),
        ({"truncate": True, "truncation": False}, False, None),
        ({"truncate": True}, True, None),
        ({"max_tokens_per_doc": 0}, True, None),
        ({"max_tokens_per_doc": 9}, True, 9),
        ({"max_doc_length": 8, "max_tokens_per_doc": 9}, True, 8),
        ({"truncate_prompt_tokens": -1}, True, None),
        ({"truncate_prompt_tokens": 7, "max_doc_length": 0}, True, 7),
        ({"truncation_side": "right", "truncation_direction": "Right"}, True, None),
    ],
)
def test_all_names_of_truncation(fields, cuts, tokens):
    call = read(**fields).call
    assert (call.truncate, call.max_document_tokens) == (cuts, tokens)


@pytest.mark.parametrize("fields", [{"raw_scores": True}, {"use_activation": False}])
def test_margins_may_be_the_scores(fields):
    assert read(**fields).margins_as_scores


def test_what_is_not_done_is_said():
    wanted = read(relevant_spans={"mode": "x"}, top_p=1, chat_template_kwargs={"a": 1}, user="u")
    spans, template, unknown = wanted.remarks
    assert "relevant_spans is not supported" in spans
    assert "chat_template_kwargs is not supported" in template
    assert unknown == "Unknown fields have no effect: 'top_p'."


def test_many_unknown_fields_are_named_in_one_sentence():
    (remark,) = read(**{f"f{n}": 1 for n in range(12)}).remarks
    assert remark.endswith("'f9' and 2 more.")


def test_documents_by_id_and_labels_of_texts():
    given = [{"id": "a"}, {"id": "b", "text": "B"}, {"id": 7, "text": ""}, {"id": {}, "text": "D"}]
    wanted = read(documents=given)
    assert wanted.call.documents == (
        DocumentInput(id="a"),
        DocumentInput(text="B"),
        DocumentInput(text=""),
        DocumentInput(text="D"),
    )
    assert [document.label for document in wanted.documents] == ["a", "b", 7, None]


def test_named_fields_make_up_the_text():
    wanted = read(
        documents=[
            {"title": "T", "year": 2024, "body": "B"},
            {"body": None, "title": "T"},
            {"other": "x", "text": "its text"},
            {"other": "x", "id": "stored"},
            {"other": "x"},
            "plain",
        ],
        rank_fields=["title", "body", "year"],
    )
    assert [document.text for document in wanted.documents] == [
        *("T\nB\n2024", "T", "its text", None, "", "plain"),
    ]
    assert wanted.remarks == (
        "None of the rank_fields is in, and an empty text was scored for: documents[4].",
    )


def test_more_documents_than_allowed():
    with pytest.raises(RequestTooLargeError, match=r"at most 2 documents .* got 3"):
        read_rerank({"query": QUERY, "documents": DOCUMENTS}, max_documents=2)
    with pytest.raises(RequestTooLargeError, match=r"at most 2 texts .* got 3"):
        read_rerank({"query": QUERY, "texts": DOCUMENTS}, max_documents=2)
