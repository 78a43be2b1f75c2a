"""POST /score: vLLM's shapes and KaLM's pairs, read and answered."""

from dataclasses import replace

import pytest

from kalm_reranker.server.calls import DocumentInput
from kalm_reranker.server.wire.envelope import Envelope
from kalm_reranker.server.wire.score_request import SIDES, read_score
from kalm_reranker.server.wire.score_response import PairsResponse, ScoreResponse, render_score
from tests.server.wire.results import FACTS, assert_fits, result_of

FRAME = Envelope(request_id="r-1", model="pico", facts=FACTS)


def texts(call):
    """The pairs of a call as (query, text)."""
    return [(call.queries[i], call.documents[j].text) for i, j in call.pairs]


@pytest.mark.parametrize("names", SIDES)
@pytest.mark.parametrize(
    ("queries", "documents", "pairs"),
    [
        ("q", "a", ["qa"]),
        ("q", ["a", "b"], ["qa", "qb"]),
        (["q"], ["a", "b"], ["qa", "qb"]),
        (["q", "r"], ["a", "b"], ["qa", "rb"]),
        (["q", "r", "q"], ["a", "b", "a"], ["qa", "rb", "qa"]),
        (["q", "r"], "a", ["qa", "ra"]),
        (["q", "r"], ["a"], ["qa", "ra"]),
    ],
)
def test_sides_are_paired(names, queries, documents, pairs):
    wanted = read_score({names[0]: queries, names[1]: documents}, max_pairs=10)
    assert texts(wanted.call) == [tuple(pair) for pair in pairs]
    assert len(set(wanted.call.queries)) == len(wanted.call.queries)
    assert wanted.ids is None


def test_kalms_pairs():
    wanted = read_score(
        {
            "pairs": [
                {"id": "x", "query": "q", "document": "a"},
                ["q", {"id": "stored"}],
                {"id": 7, "query": "r", "document": {"text": "b"}},
                {"query": "r", "document": ""},
            ],
            "instruction": "Find.",
            "return_margin": True,
            "compression_ratio": 8,
            "truncate": False,
        },
        max_pairs=4,
    )
    call = wanted.call
    assert texts(call) == [("q", "a"), ("q", None), ("r", "b"), ("r", "")]
    assert call.documents[1] == DocumentInput(id="stored")
    assert wanted.ids == ("x", None, 7, None)
    assert (call.instruction, call.compression_ratio, call.truncate) == ("Find.", 8, False)
    assert wanted.return_margin


def test_the_answer_to_vllms_client():
    wanted = read_score({"text_1": "q", "text_2": ["a", "b"], "model": "pico"}, max_pairs=2)
    found = render_score(wanted, result_of(1.0, 2.0, truncated=(1,)), FRAME)
    assert_fits(found, ScoreResponse)
    assert found["object"] == "list"
    assert [(item["index"], item["object"]) for item in found["data"]] == [
        (0, "score"),
        (1, "score"),
    ]
    assert found["data"][1]["score"] > found["data"][0]["score"]
    assert found["usage"] == {"prompt_tokens": 30, "total_tokens": 30}
    assert found["meta"]["warnings"] == ["Cut at 1,021 tokens, the rest was not read: text_2[1]."]


def test_the_answer_to_kalms_client():
    body = {"pairs": [{"id": "x", "query": "q", "document": "a"}, ["r", "b"]]}
    wanted = read_score({**body, "return_margin": True}, max_pairs=2)
    result = result_of(1.0, -2.0, truncated=(0,), queries_truncated=(1,))
    found = render_score(wanted, result, FRAME)
    assert_fits(found, PairsResponse)
    assert found["results"][0]["id"] == "x"
    assert "id" not in found["results"][1]
    assert [item["margin"] for item in found["results"]] == [1.0, -2.0]
    assert found["meta"]["warnings"] == [
        "1 queries were cut at 512 tokens; the rest was not read.",
        "Cut at 1,021 tokens, the rest was not read: pairs[0].",
    ]


def test_margins_as_scores_and_raw_scores():
    wanted = read_score({"queries": "q", "documents": "a", "use_activation": False}, max_pairs=2)
    calibrated = replace(FRAME, facts=replace(FACTS, calibrated=True))
    (item,) = render_score(wanted, result_of(1.5), calibrated)["data"]
    assert item["score"] == 1.5
    assert item["raw_score"] == pytest.approx(0.8176, abs=1e-4)
