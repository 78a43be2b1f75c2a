"""POST /v1/search, read and answered."""

from dataclasses import replace

from kalm_reranker.options import UNSET
from kalm_reranker.search.results import SearchResult, SearchResults, Stage
from kalm_reranker.server.calls import SearchCall
from kalm_reranker.server.wire.envelope import Envelope
from kalm_reranker.server.wire.search_request import read_search
from kalm_reranker.server.wire.search_response import SearchResponse, render_search
from tests.server.wire.results import FACTS, assert_fits

FRAME = Envelope(request_id="r-1", model="pico", facts=FACTS, remarks=("name",))
RESULT = SearchResult(
    id="a",
    rank=1,
    score=0.75,
    margin=1.1,
    text="A",
    metadata={"year": 2024},
    compression_ratio=4,
    truncated=True,
    first_stage_score=3.5,
    first_stage_rank=2,
    blended=None,
)
OTHER = replace(RESULT, id="b", rank=2, score=0.25, text=None, first_stage_score=None, blended=0.5)
FOUND = SearchResults(
    results=(RESULT, OTHER),
    num_candidates=9,
    stages=(Stage("bm25", 0.0125, {"candidates": 9}),),
    damaged=("damaged",),
    notes=("note",),
)


def read(**body):
    return read_search({"query": "q", **body}, max_results=200)


def test_what_is_not_said_is_left_to_the_index():
    assert read().call == SearchCall(query="q")
    assert read(top_k=None, filter={}, fuse=None, compression_ratio=None) == read()


def test_all_fields():
    wanted = read(
        top_n=7,
        candidates=150,
        instruction="Find.",
        first_stage="bm25",
        compression_ratio="none",
        fuse=True,
        filter={"lang": "en", "year": {"$gte": 2020}},
        min_score=0.5,
        return_documents=False,
        return_margin=True,
        priority=1,
        depth=3,
    )
    assert wanted.call == SearchCall(
        query="q",
        top_k=7,
        candidates=150,
        instruction="Find.",
        first_stage="bm25",
        compression_ratio=None,
        fuse=True,
        filter={"lang": "en", "year": {"$gte": 2020}},
    )
    assert (wanted.min_score, wanted.return_documents, wanted.return_margin) == (0.5, False, True)
    assert wanted.remarks == ("Unknown fields have no effect: 'depth'.",)
    assert read(compression_ratio=8).call.compression_ratio == 8
    assert read().call.compression_ratio is UNSET


def test_a_server_that_allows_fewer_than_the_defaults():
    call = read_search({"query": "q"}, max_results=5).call
    assert (call.top_k, call.candidates) == (5, 5)


def test_the_answer():
    found = render_search(read(return_margin=True, wrong=1), FOUND, FRAME)
    assert_fits(found, SearchResponse)
    first, second = found["results"]
    assert (first["id"], first["margin"], first["document"]) == ("a", 1.1, {"text": "A"})
    assert first["score"] == first["relevance_score"] == 0.75
    assert "document" not in second
    assert "first_stage_score" not in second
    assert second["blended"] == 0.5
    assert found["stages"] == [{"name": "bm25", "ms": 12.5, "counts": {"candidates": 9}}]
    assert found["meta"]["warnings"] == [
        *("name", "Unknown fields have no effect: 'wrong'.", "note", "damaged"),
    ]


def test_only_what_is_wanted():
    found = render_search(read(min_score=0.5, return_documents=False), FOUND, FRAME)
    (item,) = found["results"]
    assert item["id"] == "a"
    assert not {"document", "margin", "raw_score"} & set(item)
    calibrated = replace(FRAME, facts=replace(FACTS, calibrated=True))
    assert "raw_score" in render_search(read(), FOUND, calibrated)["results"][0]
