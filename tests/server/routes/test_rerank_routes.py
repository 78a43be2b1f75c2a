"""POST /rerank and /score through the app, with the bundled model behind it."""

import pytest

from kalm_reranker.server.routes.rerank import PATHS
from kalm_reranker.server.settings import Limits
from kalm_reranker.server.wire import examples
from kalm_reranker.server.wire.rerank_response import RerankResponse, TEIResponse
from kalm_reranker.server.wire.score_response import PairsResponse, ScoreResponse
from tests.server.wire.client_bodies import CLIENTS, DOCUMENTS, QUERY
from tests.server.wire.results import assert_fits

BODY = {"query": QUERY, "documents": DOCUMENTS}


@pytest.fixture(scope="module")
def client(serve):
    return serve()


@pytest.mark.parametrize("name", CLIENTS)
def test_each_client_gets_the_models_ranking(client, reranker, name):
    path, body, expected = CLIENTS[name]
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert_fits(answer, TEIResponse if expected.bare else RerankResponse)
    items = answer if expected.bare else answer["results"]
    ranked = reranker.rank(QUERY, DOCUMENTS, instruction=body.get("instruction"))
    assert [item["index"] for item in items] == [
        result["corpus_id"] for result in ranked[: expected.results]
    ]
    assert [item["score"] for item in items] == pytest.approx(
        [result["score"] for result in ranked[: expected.results]], abs=1e-6
    )


@pytest.mark.parametrize("path", PATHS)
def test_all_paths_answer_alike(client, path):
    answers = [client.post(each, json=BODY).json() for each in (path, "/rerank")]
    assert answers[0]["results"] == answers[1]["results"]
    assert answers[0]["results"][0]["index"] == 1


@pytest.mark.parametrize("name", sorted(set(examples.RERANK) - {"stored"}))
def test_examples_of_rerank_are_true(client, name):
    response = client.post("/rerank", json=examples.RERANK[name]["value"])
    assert response.status_code == 200, response.text
    answer = response.json()
    items = answer if isinstance(answer, list) else answer["results"]
    assert items[0]["index"] == 0


@pytest.mark.parametrize("name", examples.SCORE)
def test_examples_of_score_are_true(client, name):
    response = client.post("/v1/score", json=examples.SCORE[name]["value"])
    assert response.status_code == 200, response.text
    answer = response.json()
    assert_fits(answer, PairsResponse if "results" in answer else ScoreResponse)
    scores = [item["score"] for item in answer.get("results", answer.get("data"))]
    assert scores[0] > 0.5


def test_the_request_id_is_in_body_and_header(client):
    response = client.post("/rerank", json=BODY, headers={"x-request-id": "mine-1"})
    assert response.json()["id"] == response.headers["x-request-id"] == "mine-1"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**BODY, "query": " "}, 400, "invalid_value"),
        ({**BODY, "model": "other"}, 404, "model_not_found"),
        ({**BODY, "documents": ["d"] * 6}, 413, "too_large"),
        ({**BODY, "documents": [{"id": "a"}]}, 404, "no_index"),
    ],
)
def test_failures_have_all_names_of_the_message(serve, body, status, code):
    response = serve(limits=Limits(max_documents=5)).post("/v2/rerank", json=body)
    assert response.status_code == status
    failure = response.json()
    assert failure["error"]["code"] == code
    assert failure["message"] == failure["detail"] == failure["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"query": "", "texts": ["d"]}, 422),
        ({"query": "q", "texts": []}, 422),
        ({"query": "q", "texts": ["d"], "truncation_direction": "Left"}, 422),
        ({"query": "q", "texts": ["word " * 2000], "truncate": False}, 422),
        ({"query": "q", "texts": ["d"] * 6}, 413),
    ],
)
def test_failures_of_tei_requests_are_in_teis_shape(serve, body, status):
    response = serve(limits=Limits(max_documents=5)).post("/rerank", json=body)
    assert response.status_code == status
    assert set(response.json()) == {"error", "error_type"}
    assert response.json()["error_type"] == "validation"


def test_long_documents_are_cut_and_named_or_refused(client):
    body = {"query": QUERY, "documents": ["short", "word " * 2000]}
    meta = client.post("/rerank", json=body).json()["meta"]
    assert meta["truncated"] == [1]
    assert "documents[1]" in meta["warnings"][0]
    assert client.post("/rerank", json={**body, "truncate": False}).status_code == 400


def test_any_name_of_a_server_for_all(serve):
    client = serve(served_model_names=("*",))
    answer = client.post("/rerank", json={**BODY, "model": "rerank-v3.5"}).json()
    assert answer["model"] == "rerank-v3.5"
    assert "pico" in answer["meta"]["warnings"][0]
