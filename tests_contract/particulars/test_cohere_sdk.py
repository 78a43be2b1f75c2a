"""What only cohere's clients ask for."""

import cohere
import pytest

from tests_contract import plain
from tests_contract.examples import CAPITAL, HONEY

_FACTS = (
    {"title": "Gravity", "body": "It attracts two bodies towards each other.", "page": 1},
    {"title": "China", "body": "The capital is Beijing.", "page": 2},
)


def test_objects_with_rank_fields(server):
    client = cohere.Client(api_key=server.key, base_url=server.url)

    answer = client.rerank(
        model="pico", query=CAPITAL.query, documents=_FACTS, rank_fields=["title", "body"]
    )

    texts = [f"{fact['title']}\n{fact['body']}" for fact in _FACTS]
    expected = plain.scores(server.url, server.key, CAPITAL.query, texts)
    assert [item.index for item in answer.results] == [1, 0]
    assert [item.relevance_score for item in answer.results] == pytest.approx(
        expected[::-1], abs=1e-6
    )


def test_stored_passages_by_id(stocked_server):
    """The two-phase use, which nothing in the SDK knows of: ids instead of texts."""
    client = cohere.Client(api_key=stocked_server.key, base_url=stocked_server.url)
    ids = [{"id": str(index)} for index in range(len(HONEY.documents))]

    answer = client.rerank(model="pico", query=HONEY.query, documents=ids, return_documents=True)

    assert {item.index for item in answer.results[:2]} == HONEY.relevant
    for item in answer.results:
        assert item.document.text == HONEY.documents[item.index]


@pytest.mark.parametrize("client_type", [cohere.Client, cohere.ClientV2])
def test_a_cut_is_told_in_warnings(server, client_type):
    client = client_type(api_key=server.key, base_url=server.url)
    options = {"max_tokens_per_doc": 3}
    if client_type is cohere.Client:  # knows no such argument
        options = {"request_options": {"additional_body_parameters": options}}

    answer = client.rerank(
        model="pico", query=CAPITAL.query, documents=CAPITAL.documents, **options
    )

    assert len(answer.results) == 2
    assert "documents[0]" in answer.meta.warnings[0]
    assert answer.meta.api_version.version
    assert answer.meta.tokens.input_tokens > 0


def test_another_model(server):
    client = cohere.ClientV2(api_key=server.key, base_url=server.url)
    with pytest.raises(cohere.NotFoundError) as caught:
        client.rerank(model="rerank-v3.5", query=CAPITAL.query, documents=CAPITAL.documents)
    assert "pico" in caught.value.body["message"]


def test_too_many_documents(server):
    client = cohere.ClientV2(api_key=server.key, base_url=server.url)
    with pytest.raises(cohere.core.ApiError, match="1,001") as caught:
        client.rerank(model="pico", query=CAPITAL.query, documents=["text"] * 1001)
    assert caught.value.status_code == 413
