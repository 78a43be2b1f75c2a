"""Answers of POST /rerank: order, cuts, what is beside the scores."""

from dataclasses import replace

import pytest

from kalm_reranker.server.wire.envelope import Envelope
from kalm_reranker.server.wire.rerank_request import read_rerank
from kalm_reranker.server.wire.rerank_response import RerankResponse, TEIResponse, render_rerank
from tests.server.wire.client_bodies import CLIENTS, DOCUMENTS, QUERY
from tests.server.wire.results import FACTS, assert_fits, result_of

FRAME = Envelope(request_id="r-1", model="pico", facts=FACTS)


def answer(result=None, *, frame=FRAME, **body):
    wanted = read_rerank({"query": QUERY, "documents": DOCUMENTS, **body}, max_documents=10)
    return render_rerank(wanted, result or result_of(-1.0, 2.0, 0.5), frame)


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_finds_what_it_reads(client):
    _, body, expected = CLIENTS[client]
    wanted = read_rerank(body, max_documents=3)
    found = render_rerank(wanted, result_of(-1.0, 2.0, 0.5), FRAME)
    order = [1, 2, 0][: expected.results]
    if expected.bare:
        assert_fits(found, TEIResponse)
        assert [item["index"] for item in found] == order
        assert [item.get("text") for item in found] == [
            DOCUMENTS[index] if expected.documents else None for index in order
        ]
        return
    assert_fits(found, RerankResponse)
    assert [item["index"] for item in found["results"]] == order
    assert all(item["score"] == item["relevance_score"] for item in found["results"])
    texts = [DOCUMENTS[index] if expected.documents else None for index in order]
    assert [item.get("document", {}).get("text") for item in found["results"]] == texts
    assert ("data" in found) == expected.data
    if expected.data:
        assert [item.get("document") for item in found["data"]] == texts
        assert [item["index"] for item in found["data"]] == order
    assert found["id"] == "r-1"
    assert found["object"] == "rerank"
    assert found["model"] == "pico"
    assert found["usage"] == {"prompt_tokens": 30, "total_tokens": 30}
    assert found["meta"]["api_version"] == {"version": "2"}
    assert found["meta"]["billed_units"] == {"search_units": 1}
    assert found["meta"]["tokens"] == {"input_tokens": 30, "output_tokens": 0}
    assert found["meta"]["warnings"] == []


def test_equal_margins_keep_the_order_of_the_request():
    found = answer(result_of(1.0, 2.0, 1.0))
    assert [item["index"] for item in found["results"]] == [1, 0, 2]


def test_the_order_is_by_margin_where_scores_are_rounded_to_one():
    found = answer(result_of(50.0, 60.0, 40.0))
    assert [item["score"] for item in found["results"]] == [1.0, 1.0, 1.0]
    assert [item["index"] for item in found["results"]] == [1, 0, 2]


def test_margins_beside_scores_and_instead_of_them():
    assert [item["margin"] for item in answer(return_margin=True)["results"]] == [2.0, 0.5, -1.0]
    raw = answer(raw_scores=True)["results"]
    assert [item["score"] for item in raw] == [2.0, 0.5, -1.0]
    assert [item["relevance_score"] for item in raw] == [2.0, 0.5, -1.0]
    texts = {"documents": None, "texts": DOCUMENTS}
    assert answer(**texts, raw_scores=True)[0] == {"index": 1, "score": 2.0}


def test_a_server_that_calibrates_also_says_what_the_model_thought():
    frame = replace(FRAME, facts=replace(FACTS, calibrated=True))
    found = answer(frame=frame)
    assert_fits(found, RerankResponse)
    assert found["results"][0]["raw_score"] == pytest.approx(0.8808, abs=1e-4)


def test_cut_documents_are_named():
    found = answer(result_of(1.0, 2.0, 3.0, truncated=(2, 0), queries_truncated=(0,)), top_n=1)
    assert found["meta"]["truncated"] == [0, 2]
    assert found["meta"]["query_truncated"]
    query, documents = found["meta"]["warnings"]
    assert query == "The query was cut at 512 tokens; the rest was not read."
    assert documents == "Cut at 1,021 tokens, the rest was not read: documents[0], documents[2]."


def test_the_requests_own_limit_is_the_one_that_is_named():
    cut = result_of(1.0, 2.0, 3.0, truncated=(0,))
    (remark,) = answer(cut, max_tokens_per_doc=7)["meta"]["warnings"]
    assert remark.startswith("Cut at 7 tokens")
    (remark,) = answer(cut, max_tokens_per_doc=70_000)["meta"]["warnings"]
    assert remark.startswith("Cut at 1,021 tokens")


def test_a_long_list_of_cut_documents_is_named_in_part():
    wanted = read_rerank({"query": QUERY, "documents": ["d"] * 30}, max_documents=30)
    cut = result_of(*[0.0] * 30, truncated=tuple(range(30)))
    meta = render_rerank(wanted, cut, FRAME)["meta"]
    assert meta["truncated"] == list(range(30))
    assert meta["warnings"][0].endswith("documents[19] and 10 more (all are in meta.truncated).")


def test_stored_passages_have_their_id_and_text():
    found = answer(
        result_of(1.0, 2.0, 3.0, texts={0: "A", 1: None}),
        documents=[{"id": "a"}, {"id": "b"}, {"id": "mine", "text": "C"}],
        return_documents=True,
        top_k=None,
    )
    assert_fits(found, RerankResponse)
    assert [(item["id"], item.get("document")) for item in found["results"]] == [
        ("mine", {"text": "C"}),
        ("b", None),
        ("a", {"text": "A"}),
    ]
    assert [item.get("document") for item in found["data"]] == ["C", None, "A"]
    assert found["meta"]["warnings"] == [
        "The index keeps no texts: stored passages come back without."
    ]


def test_what_the_service_and_the_name_have_to_say_is_said():
    frame = replace(FRAME, remarks=("about the name",))
    found = answer(result_of(1.0, 2.0, 3.0, warnings=("from below",)), frame=frame, wrong=1)
    assert found["meta"]["warnings"] == [
        "about the name",
        "Unknown fields have no effect: 'wrong'.",
        "from below",
    ]


def test_no_label_is_an_empty_string():
    # voyageai refuses a response with an empty string as a value.
    found = answer(result_of(1.0), documents=[{"id": "", "text": "C"}], top_k=1)
    assert "id" not in found["results"][0]
