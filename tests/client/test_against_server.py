"""Both clients against a `kalm serve` process with the bundled model and an index."""

import asyncio

import pytest

from kalm_reranker.client import AsyncKaLMClient, KaLMClient, StoredPassage
from kalm_reranker.errors import ServerRefusedError
from tests.client.real_server import KEY, MAX_DOCUMENTS

QUERIES = ["What is the capital of China?", "Why do apples fall?"]
DOCUMENTS = [
    "Gravity attracts bodies toward one another.",
    "The capital of China is Beijing.",
    "Shanghai is the largest city of China.",
    "",
    "苹果落地是因为重力。",
    "A <end_of_turn> in a text is text.",
    "The capital of China is Beijing.",
    "Rivers run into the sea. " * 200,
]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 3, "return_documents": True},
        {"instruction": "Find the opposite."},
        {"compression_ratio": 8},
        {"compression_ratio": None},
    ],
    ids=str,
)
def test_rank_is_the_rerankers(real_client, reranker, options):
    ours = real_client.rank(QUERIES[0], DOCUMENTS, return_margin=True, **options)
    expected = reranker.rank(QUERIES[0], DOCUMENTS, return_margin=True, **options)
    assert [one["corpus_id"] for one in ours] == [one["corpus_id"] for one in expected]
    for one, other in zip(ours, expected, strict=True):
        assert one.keys() == other.keys()
        assert one["score"] == pytest.approx(other["score"], abs=1e-6)
        assert one["margin"] == pytest.approx(other["margin"], abs=2e-5)
        assert one.get("text") == other.get("text")


@pytest.mark.parametrize("ratio", [2, 16])
def test_predict_is_the_rerankers(real_client, reranker, ratio):
    pairs = [(query, document) for document in DOCUMENTS for query in QUERIES]
    assert len(pairs) > 2 * MAX_DOCUMENTS
    ours = real_client.predict(pairs, compression_ratio=ratio)
    assert ours == pytest.approx(reranker.predict(pairs, compression_ratio=ratio), abs=1e-6)
    scored = real_client.predict(pairs, return_margin=True)
    for one, other in zip(scored, reranker.predict(pairs, return_margin=True), strict=True):
        assert one == pytest.approx(other, abs=2e-5)


def test_the_async_client_gives_the_same(real_client, url):
    async def ask():
        async with AsyncKaLMClient(url, api_key=KEY) as server:
            rankings = [server.rank(query, DOCUMENTS) for query in QUERIES]
            return await asyncio.gather(*rankings, server.predict([(QUERIES[0], DOCUMENTS[1])]))

    *rankings, scores = asyncio.run(ask())
    for query, ranking in zip(QUERIES, rankings, strict=True):
        expected = real_client.rank(query, DOCUMENTS)
        assert [one["corpus_id"] for one in ranking] == [one["corpus_id"] for one in expected]
    assert scores == pytest.approx(real_client.predict([(QUERIES[0], DOCUMENTS[1])]), abs=1e-6)


def test_what_was_cut_is_told(real_client, caplog):
    found = real_client.rerank("capital " * 600, DOCUMENTS)
    assert found.truncated == (7,)
    assert found.query_truncated
    assert any("query was cut" in warning for warning in found.warnings)
    assert found.model == "pico"
    assert found.total_tokens > 0
    assert len(found.request_ids) == 2
    real_client.rank(QUERIES[0], DOCUMENTS)
    assert any("the rest was not read" in record.getMessage() for record in caplog.records)


def test_passages_are_added_found_scored_by_id_and_deleted(real_client, reranker):
    ids = ["a", "b/../c", "d?e=f&id=g#h", "..", "é 北京", "f", "g", "h"]
    passages = [
        {"id": name, "text": text, "metadata": {"place": place}}
        for place, (name, text) in enumerate(zip(ids, DOCUMENTS, strict=True))
    ]
    added = real_client.add(passages)
    assert (added.added, added.unchanged, added.truncated) == (8, 0, 1)
    assert real_client.add(passages).unchanged == 8
    assert real_client.info()["model"]["index_passages"] == 8
    for place, name in enumerate(ids):
        assert real_client.get(name) == StoredPassage(name, DOCUMENTS[place], {"place": place})
    assert [one.id for one in real_client.get_many(ids[::-1])] == ids[::-1]

    stored = [StoredPassage(name) for name in ids]
    ours = real_client.rank(QUERIES[0], stored, return_margin=True, return_documents=True)
    expected = reranker.rank(QUERIES[0], DOCUMENTS, return_margin=True, return_documents=True)
    assert [one["corpus_id"] for one in ours] == [one["corpus_id"] for one in expected]
    assert [one["text"] for one in ours] == [one["text"] for one in expected]
    # States are stored with less precision than they are computed.
    assert [one["margin"] for one in ours] == pytest.approx(
        [one["margin"] for one in expected], abs=0.05
    )

    found = real_client.search(QUERIES[0], 2, filter={"place": {"$lt": 6}})
    assert (found[0].id, found[0].text, found[0].rank) == (ids[1], DOCUMENTS[1], 1)
    assert found[0].metadata == {"place": 1}
    assert found[0].margin > found[1].margin
    assert found.num_candidates >= 2
    assert found.stages[0]["ms"] >= 0

    with pytest.raises(ServerRefusedError) as caught:
        real_client.delete(["a", "missing"])
    assert (caught.value.status, caught.value.code) == (404, "passage_not_found")
    assert real_client.delete(["a", "missing"], missing_ok=True) == 1
    assert real_client.delete(ids[1:]) == 7
    for call in (real_client.get, lambda name: real_client.rank("q", [{"id": name}])):
        with pytest.raises(ServerRefusedError) as caught:
            call("a")
        assert (caught.value.status, caught.value.code) == (404, "passage_not_found")


def test_what_the_server_says_of_itself(real_client):
    found = real_client.health()
    assert found.ready
    assert found.details["model"] == "pico"
    assert "pico" in real_client.models()
    assert real_client.info()["limits"]["max_documents"] == MAX_DOCUMENTS
    answer = real_client.request(
        "POST", "/v2/rerank", {"query": "q", "documents": ["a"], "top_n": 1}
    )
    assert answer["results"][0]["index"] == 0


def test_without_a_key(url, monkeypatch):
    monkeypatch.delenv("KALM_API_KEY", raising=False)
    with KaLMClient(url) as stranger:
        assert stranger.health().ready
        with pytest.raises(ServerRefusedError) as caught:
            stranger.rank("q", ["a"])
    assert caught.value.status == 401
    assert "KALM_API_KEY" in caught.value.hint


def test_refusals_hold_the_request_id_of_the_servers_log(real_client):
    with pytest.raises(ServerRefusedError, match=r"request id [0-9a-f]{32}") as caught:
        real_client.rank("q", ["a"], compression_ratio=3_000_000_000)
    assert caught.value.status == 400
