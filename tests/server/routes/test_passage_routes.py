"""Stored passages and searches through the app, with a real index behind it."""

import pytest

from kalm_reranker.server.settings import Limits
from kalm_reranker.server.wire import examples
from kalm_reranker.server.wire.passage_response import (
    PassageList,
    PassagesAdded,
    PassagesDeleted,
    StoredPassage,
)
from kalm_reranker.server.wire.rerank_response import RerankResponse
from kalm_reranker.server.wire.search_response import SearchResponse
from tests.server.wire.results import assert_fits

ADDED = examples.ADD_PASSAGES["several"]["value"]


@pytest.fixture
def client(serve, index):
    served = serve(index, limits=Limits(max_documents=5, max_results=50))
    answer = served.post("/v1/passages", json=ADDED).json()
    assert_fits(answer, PassagesAdded)
    assert answer["added"] == 2
    return served


def test_what_is_there_costs_nothing(client):
    again = client.post("/v1/passages", json=ADDED).json()
    assert (again["added"], again["unchanged"]) == (0, 2)
    one = client.post("/v1/passages", json={"id": "beijing", "text": "Another text."}).json()
    assert one["replaced"] == 1


def test_passages_are_read_by_id(client):
    one = client.get("/v1/passages/beijing").json()
    assert_fits(one, StoredPassage)
    assert one["metadata"] == {"lang": "en", "year": 2024}
    both = client.get("/v1/passages", params={"id": ["gravity", "beijing"]}).json()
    assert_fits(both, PassageList)
    assert [passage["id"] for passage in both["data"]] == ["gravity", "beijing"]


def test_ids_may_be_anything(client):
    for name in ("a/b", "../x", "x y", "?q#f", "Übung/漢字", "%41", "a//b/", ".", ".."):
        assert client.post("/v1/passages", json={"id": name, "text": "t"}).json()["added"] == 1
        assert client.get("/v1/passages", params={"id": name}).json()["data"][0]["id"] == name
        deleted = client.delete("/v1/passages", params={"id": name}).json()
        assert_fits(deleted, PassagesDeleted)
        assert deleted["deleted"] == 1
        assert client.get("/v1/passages", params={"id": name}).status_code == 404


def test_slashes_are_part_of_an_id_in_the_path(client):
    client.post("/v1/passages", json={"id": "a/b c/d", "text": "t"})
    assert client.get("/v1/passages/a/b%20c/d").json()["id"] == "a/b c/d"
    assert client.get("/v1/passages/a%2Fb%20c%2Fd").json()["id"] == "a/b c/d"
    assert client.delete("/v1/passages/a/b%20c/d").json()["deleted"] == 1


def test_deletion_is_of_all_or_none(client):
    gone = client.delete("/v1/passages", params={"id": ["beijing", "no"]})
    assert gone.status_code == 404
    assert client.get("/v1/passages/beijing").status_code == 200
    params = {"id": ["beijing", "no"], "missing_ok": "true"}
    assert client.delete("/v1/passages", params=params).json()["deleted"] == 1
    assert client.delete("/v1/passages/no").status_code == 404
    assert client.delete("/v1/passages/no?missing_ok=true").json()["deleted"] == 0


BAD_ADDRESSES = [
    ("GET", "/v1/passages", 400),
    ("GET", "/v1/passages/", 400),
    ("GET", "/v1/passages/%00", 400),
    ("GET", "/v1/passages/no", 404),
    ("GET", "/v1/passages/" + "a" * 32_769, 400),
    ("GET", "/v1/passages?id=a&id=b&id=c&id=d&id=e&id=f", 413),
    ("DELETE", "/v1/passages", 400),
    ("DELETE", "/v1/passages/beijing?missing_ok=1", 400),
    ("PUT", "/v1/passages/beijing", 405),
]


def test_bad_addresses(client):
    for method, path, status in BAD_ADDRESSES:
        response = client.request(method, path)
        assert response.status_code == status, path[:80]
        assert response.json()["error"]["message"]


def test_a_read_only_server_changes_nothing(serve, index):
    index.add([("a", "text")], show_progress=False)
    client = serve(index, read_only=True)
    refused = [
        client.post("/v1/passages", json=ADDED),
        client.delete("/v1/passages/a"),
        client.delete("/v1/passages?id=a"),
    ]
    assert [response.status_code for response in refused] == [403, 403, 403]
    assert refused[0].json()["error"]["code"] == "read_only"
    assert client.get("/v1/passages/a").status_code == 200


def test_without_an_index_there_are_no_passages(serve):
    client = serve()
    for response in (
        client.get("/v1/passages/a"),
        client.post("/v1/passages", json=ADDED),
        client.post("/v1/search", json={"query": "q"}),
    ):
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "no_index"


def test_stored_passages_are_ranked_beside_texts(client):
    response = client.post("/rerank", json=examples.RERANK["stored"]["value"])
    answer = response.json()
    assert response.status_code == 200, answer
    assert_fits(answer, RerankResponse)
    best = answer["results"][0]
    assert (best["index"], best["id"]) == (0, "beijing")
    assert best["document"] == {"text": "The capital of China is Beijing."}
    assert client.post("/rerank", json={"query": "q", "documents": [{"id": "no"}]}).status_code == (
        404
    )


@pytest.mark.parametrize("name", examples.SEARCH)
def test_searches_find_the_passage(client, name):
    response = client.post("/v1/search", json=examples.SEARCH[name]["value"])
    answer = response.json()
    assert response.status_code == 200, answer
    assert_fits(answer, SearchResponse)
    assert answer["results"][0]["id"] == "beijing"
    assert answer["results"][0]["document"]["text"] == "The capital of China is Beijing."


def test_filters_and_scores_leave_results_out(client):
    body = {"query": "What is the capital of China?", "filter": {"lang": "de"}}
    assert client.post("/v1/search", json=body).json()["results"] == []
    body = {"query": "What is the capital of China?", "min_score": 1.0}
    assert client.post("/v1/search", json=body).json()["results"] == []
    too_many = client.post("/v1/search", json={"query": "q", "top_k": 51})
    assert too_many.status_code == 413
