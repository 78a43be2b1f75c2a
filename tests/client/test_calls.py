"""Requests that go out and answers that come back: in parts, in order, with what was warned of."""

import asyncio
import inspect
import logging
import threading
import typing

import httpx
import pytest

from kalm_reranker import Passage
from kalm_reranker.client import (
    AsyncKaLMClient,
    KaLMClient,
    RankedDocument,
    RerankedDocument,
    StoredPassage,
)
from kalm_reranker.errors import (
    ClientError,
    InputError,
    InvalidOptionError,
    InvalidPairError,
    InvalidRatioError,
    InvalidTextError,
    ServerRefusedError,
    TextTypeError,
)
from kalm_reranker.options import UNSET
from kalm_reranker.scoring import ScoredPair
from tests.client.answers_of_a_server import margin_of, obliging, reranked, score_of
from tests.client.scripted_server import answer

SMALL = {"max_documents": 3, "max_body_bytes": 2**20}


def many(number):
    return [f"document {(7 * index) % number}" for index in range(number)]


def test_rank_asks_for_what_is_needed_and_no_more(server, client):
    server.script = [obliging()]
    ranked = client.rank("q", ["one 1", "five 5"], return_margin=True)
    assert ranked == [
        {"corpus_id": 1, "score": score_of(5), "margin": 5.0},
        {"corpus_id": 0, "score": score_of(1), "margin": 1.0},
    ]
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/v1/rerank")
    assert seen.headers["content-type"] == "application/json"
    assert seen.body == {
        "documents": ["one 1", "five 5"],
        "query": "q",
        "return_margin": True,
        "return_documents": False,
    }


def test_options_reach_the_server(server, client):
    server.script = [obliging()]
    client.rank("q", ["a 1"], "find it", top_k=5, compression_ratio=8)
    assert server.seen[0].body["instruction"] == "find it"
    assert server.seen[0].body["top_n"] == 5
    assert server.seen[0].body["compression_ratio"] == 8
    client.predict([("q", "a 1")], "find it", compression_ratio=None)
    assert server.seen[1].body == {
        "pairs": [{"query": "q", "document": "a 1"}],
        "instruction": "find it",
        "compression_ratio": 1,
        "return_margin": True,
    }


def test_texts_that_are_here_do_not_come_back_over_the_wire(server, client):
    server.script = [obliging()]
    ranked = client.rank("q", ["one 1", {"text": "five 5"}], return_documents=True)
    assert [one["text"] for one in ranked] == ["five 5", "one 1"]
    assert server.seen[0].body["return_documents"] is False


def test_stored_passages_go_by_id_and_come_with_the_servers_text(server, client):
    body = reranked({"documents": ["a 1", "b 2", "c 3"]})
    body["results"][0]["document"] = {"text": "text of c"}
    server.script = [answer(body)]
    documents = ["here 1", StoredPassage("b", "kept", {"k": 1}), {"id": "c"}]
    ranked = client.rank("q", documents, return_documents=True)
    assert server.seen[0].body["documents"] == ["here 1", {"id": "b"}, {"id": "c"}]
    assert server.seen[0].body["return_documents"] is True
    assert [one.get("text") for one in ranked] == ["text of c", None, "here 1"]


def test_a_long_list_is_ranked_in_parts_like_in_one(server, client):
    documents = many(10)
    server.script = [obliging(SMALL)]
    ranked = client.rank("q", documents, top_k=4)
    expected = sorted(range(10), key=lambda index: -margin_of(documents[index]))[:4]
    assert [one["corpus_id"] for one in ranked] == expected
    sizes = [len(seen.body["documents"]) for seen in server.seen if seen.body]
    assert sizes == [10, 3, 3, 3, 1]  # the first was too much, which /info then explained
    client.rank("q", documents)
    assert [len(seen.body["documents"]) for seen in server.seen[-4:]] == [3, 3, 3, 1]


def test_any_number_of_pairs(server, client):
    documents = many(2_500)
    server.script = [obliging()]
    margins = [margin_of(document) for document in documents]
    pairs = [(f"query {index}", document) for index, document in enumerate(documents)]
    assert client.predict(pairs) == [score_of(margin) for margin in margins]
    assert client.predict(pairs[:3], return_margin=True) == [
        ScoredPair(score_of(margin), margin) for margin in margins[:3]
    ]
    paths = [seen.path for seen in server.seen]
    assert paths == ["/info", *["/v1/score"] * 4]


def test_parts_are_as_large_as_a_body_may_be(server, client):
    server.script = [obliging({"max_documents": 1000, "max_body_bytes": 4000})]
    client.predict([("q", f"{'é' * 400} {index}") for index in range(8)])
    sizes = [len(seen.body["pairs"]) for seen in server.seen if seen.body]
    assert sizes == [8, 4, 4]


def test_what_alone_is_too_large_is_refused(server, client):
    server.script = [obliging({"max_documents": 1000, "max_body_bytes": 100})]
    with pytest.raises(ServerRefusedError, match="413 too_large: too many"):
        client.rank("q", ["x" * 200])
    assert [seen.path for seen in server.seen] == ["/v1/rerank", "/info"]


def test_nothing_asks_nothing(server, client):
    assert client.rank("q", []) == client.predict([]) == []
    assert client.add([]).added == client.delete([]) == 0
    assert client.get_many([]) == []
    assert server.seen == []


def test_what_was_cut_is_returned_by_rerank_and_logged_by_rank(server, client, caplog):
    said = "Cut at 500 tokens, the rest was not read: documents[1]."
    server.script = [obliging(truncated=[1], warnings=[said], query_truncated=True)]
    found = client.rerank("q", ["one 1", "five 5"])
    assert found[0] == RerankedDocument(
        index=1, score=score_of(5), margin=5.0, raw_score=None, text=None
    )
    assert (found.truncated, found.warnings, found.query_truncated) == ((1,), (said,), True)
    assert (found.model, found.total_tokens, found.request_ids) == ("pico", 10, ("r2",))
    assert client.score_pairs([("q", "a 1"), ("q", "b 2")]).truncated == (1,)
    assert caplog.records == []
    client.rank("q", ["one 1", "five 5"])
    client.predict([("q", "one 1"), ("q", "five 5")])
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert [record.getMessage() for record in caplog.records] == [
        f"rank: the server says: {said}",
        f"predict: the server says: {said}",
    ]


def test_what_was_cut_in_parts_counts_from_the_first(server, client):
    server.script = [obliging(SMALL, truncated=[0], warnings=["Cut: documents[0]."])]
    found = client.rerank("q", many(7))
    assert found.truncated == (0, 3, 6)
    assert found.warnings == (
        "Cut: documents[0].",
        "(counting from item 3) Cut: documents[0].",
        "(counting from item 6) Cut: documents[0].",
    )
    assert found.total_tokens == 30


def test_a_calibrated_server_gives_raw_scores(server, client):
    body = reranked({"documents": ["a 1"]})
    body["results"][0]["raw_score"] = 0.25
    server.script = [answer(body)]
    assert client.rank("q", ["a 1"]) == [{"corpus_id": 0, "score": score_of(1), "raw_score": 0.25}]


def test_an_answer_about_documents_that_were_not_sent_is_an_error(server, client):
    server.script = [answer(reranked({"documents": ["a 1", "b 2"]}))]
    with pytest.raises(ClientError, match=r"results\[0\] should have 'index', below 1"):
        client.rank("q", ["a 1"])
    body = reranked({"documents": ["a 1"]})
    body["results"][0]["score"] = float("nan")
    server.script = [answer(body)]
    with pytest.raises(ClientError, match="should have 'score', a finite number; got nan"):
        client.rank("q", ["a 1"])


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda c: c.rank(" ", ["a"]), InvalidTextError, "query must hold some text"),
        (lambda c: c.rank(3, ["a"]), TextTypeError, "query must be a string"),
        (lambda c: c.rank("q", "a"), TextTypeError, "documents must be a list; got str"),
        (lambda c: c.rank("q", iter("a")), TextTypeError, "documents must be a list"),
        (lambda c: c.rank("q", ["a", 3]), TextTypeError, r"documents\[1\] must be a string, a"),
        (lambda c: c.rank("q", [{"title": "a"}]), TextTypeError, r"documents\[0\] must be"),
        (lambda c: c.rank("q", [{"id": 3}]), TextTypeError, r"documents\[0\] id must be a str"),
        (lambda c: c.rank("q", [StoredPassage("")]), InvalidTextError, "at least one character"),
        (lambda c: c.rank("q", ["a\ud800"]), InvalidTextError, "lone surrogate"),
        (lambda c: c.rank("q", ["a"], "\ud800"), InvalidTextError, "instruction holds a lone"),
        (lambda c: c.rank("q", ["a"], top_k=0), InvalidOptionError, "top_k must be a positive"),
        (lambda c: c.rank("q", ["a"], compression_ratio=0), InvalidRatioError, "got 0"),
        (lambda c: c.rank("q", ["a"], compression_ratio=True), InvalidRatioError, "got True"),
        (lambda c: c.predict("ab"), InvalidPairError, "pairs must be a list"),
        (lambda c: c.predict([("q", "a"), "qa"]), InvalidPairError, r"pairs\[1\] must be a"),
        (lambda c: c.predict([("q",)]), InvalidPairError, "got 1 elements"),
        (lambda c: c.predict([("", "a")]), InvalidTextError, r"pairs\[0\] query must hold"),
        (lambda c: c.add("file.jsonl"), TextTypeError, "passages must be an iterable"),
        (lambda c: c.add([("a", "b", "c")]), TextTypeError, r"passages\[0\] must be a Passage"),
        (lambda c: c.add([("", "b")]), InvalidTextError, "id must hold at least one"),
        (lambda c: c.add([Passage("a", "b", {"x": float("nan")})]), InputError, "JSON"),
        (lambda c: c.delete([3]), TextTypeError, r"ids\[0\] must be a string"),
        (lambda c: c.search(""), InvalidTextError, "query must hold"),
        (lambda c: c.search("q", 0), InvalidOptionError, "top_k must be"),
        (lambda c: c.search("q", candidates=0), InvalidOptionError, "candidates must be"),
        (lambda c: c.request("PATCH", "/x"), InvalidOptionError, "method must be GET, POST"),
        (lambda c: c.request("GET", "x"), InvalidOptionError, "path must begin with a slash"),
    ],
)
def test_wrong_arguments_are_errors_before_anything_is_sent(server, client, call, kind, words):
    with pytest.raises(kind, match=words):
        call(client)
    assert server.seen == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_url": "127.0.0.1:8000"}, "must be the address of a server"),
        ({"base_url": "localhost"}, "must be the address of a server"),
        ({"base_url": "http://"}, "must be the address of a server"),
        ({"base_url": "ftp://host"}, "must be the address of a server"),
        ({"base_url": "http://host:99999999"}, "must be the address of a server"),
        ({"base_url": "http://host/?a=b"}, "without [?] and #"),
        ({"base_url": None}, "must be the address of a server"),
        ({"timeout_s": 0}, "timeout_s must be a positive number"),
        ({"timeout_s": float("inf")}, "timeout_s must be a positive number"),
        ({"timeout_s": "1"}, "timeout_s must be a positive number"),
        ({"max_retries": -1}, "max_retries must be a whole number"),
    ],
)
@pytest.mark.parametrize("kind", [KaLMClient, AsyncKaLMClient])
def test_wrong_settings_are_errors(kind, options, words):
    with pytest.raises(InvalidOptionError, match=words):
        kind(**options)


def test_keys_are_sent_and_never_shown(server, monkeypatch):
    server.script = [answer({"status": "ok"})]
    monkeypatch.setenv("KALM_API_KEY", "from-the-environment")
    with KaLMClient(server.url) as client:
        client.health()
    with KaLMClient(server.url, api_key="given") as client:
        client.health()
        assert "given" not in repr(client) + repr(vars(client))
    keys = [seen.headers["authorization"] for seen in server.seen]
    assert keys == ["Bearer from-the-environment", "Bearer given"]
    for key in ("se cret", "secret\n", "sécret", "secret\x00"):
        with pytest.raises(InvalidOptionError, match="one word") as caught:
            KaLMClient(api_key=key)
        assert "cret" not in str(caught.value)
    with pytest.raises(InvalidOptionError, match="no user and no password") as caught:
        KaLMClient("http://user:secret@host")
    assert "secret" not in str(caught.value)


def test_proxies_are_no_way_to_this_machine(server, client, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.script = [answer({"status": "ok"})]
    with KaLMClient(server.url) as made:
        assert made.health().ready


def test_a_client_of_ones_own_is_used_and_left_open(server):
    server.script = [obliging()]
    with httpx.Client(headers={"x-gateway": "yes"}) as own:
        with KaLMClient(server.url, http_client=own) as client:
            client.rank("q", ["a 1"])
        assert not own.is_closed
    assert server.seen[0].headers["x-gateway"] == "yes"
    with KaLMClient(server.url) as client:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        client.rank("q", ["a 1"])


def test_passages(server, client):
    done = {"added": 2, "replaced": 0, "metadata_updated": 0, "unchanged": 1, "truncated": 1}
    server.script = [answer({**done, "meta": {"warnings": ["one was cut"]}})]
    passages = [("a", "x"), {"id": "b", "text": "y", "metadata": {"k": [1]}}, Passage("c", "z")]
    found = client.add(iter(passages))
    assert (found.added, found.unchanged, found.warnings) == (2, 1, ("one was cut",))
    assert server.seen[0].body == {
        "passages": [
            {"id": "a", "text": "x"},
            {"id": "b", "text": "y", "metadata": {"k": [1]}},
            {"id": "c", "text": "z"},
        ]
    }
    stored = {"object": "passage", "id": "../x?y", "text": "t", "metadata": {}}
    server.script = [answer({"object": "list", "data": [stored]})]
    assert client.get("../x?y") == StoredPassage("../x?y", "t")
    assert server.seen[1].path == "/v1/passages?id=..%2Fx%3Fy"
    with pytest.raises(ClientError, match="lacks the passage 'z'"):
        client.get("z")


def test_many_ids_go_in_several_urls(server, client):
    limits = {"max_documents": 30, "max_body_bytes": 2**20}
    server.script = [answer({"limits": limits}), answer({"deleted": 10})]
    ids = [f"{'x' * 190}{index}" for index in range(70)] + list("abcdefghijklmnopqrstuvwxyzABCDEF")
    count = client.delete(ids)
    assert server.seen[0].path == "/info"
    asked = [seen.path for seen in server.seen[1:]]
    assert count == 10 * len(asked)
    assert all(len(path) < 4_200 and path.count("id=") <= 30 for path in asked)
    assert sum(path.count("id=") for path in asked) == 102


def test_a_search_asks_for_what_was_said(server, client):
    body = {"id": "i", "model": "m", "results": [], "stages": [], "num_candidates": 0}
    server.script = [answer(body)]
    client.search("q")
    client.search(
        "q", 3, candidates=50, instruction="i", first_stage="bm25", compression_ratio=None,
        fuse=False, filter={"lang": "en"}, return_documents=False,
    )  # fmt: skip
    assert server.seen[0].body == {
        "query": "q", "top_k": 10, "return_documents": True, "return_margin": True,
    }  # fmt: skip
    assert server.seen[1].body == {
        "query": "q", "top_k": 3, "candidates": 50, "instruction": "i", "first_stage": "bm25",
        "compression_ratio": 1, "fuse": False, "filter": {"lang": "en"},
        "return_documents": False, "return_margin": True,
    }  # fmt: skip


def test_threads_share_a_client(server, client):
    server.script = [obliging(SMALL)]
    documents = many(9)
    results = []

    def work():
        results.append([one["corpus_id"] for one in client.rank("q", documents)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(map(tuple, results))) == 1


def test_tasks_share_a_client_and_one_can_be_cancelled(server):
    server.script = [obliging()]

    async def work():
        async with AsyncKaLMClient(server.url) as client:
            every = [client.predict([("q", f"a {number}")]) for number in range(8)]
            scores = await asyncio.gather(*every)
            server.script = [lambda handler: __import__("time").sleep(0.5)]
            slow = asyncio.create_task(client.health())
            await asyncio.sleep(0.1)
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            return scores

    assert asyncio.run(work()) == [[score_of(number)] for number in range(8)]


def test_both_clients_have_the_same_calls():
    def calls(kind):
        return {
            name: inspect.signature(call)
            for name, call in vars(kind).items()
            if inspect.isfunction(call) and not name.startswith("_")
        }

    assert calls(KaLMClient) == calls(AsyncKaLMClient)


def test_calls_are_those_of_the_reranker():
    from kalm_reranker.reranker import KaLMReranker
    from kalm_reranker.reranker import RankedDocument as RerankersOwn

    for name in ("rank", "predict"):
        theirs = dict(inspect.signature(getattr(KaLMReranker, name)).parameters)
        del theirs["show_progress"]
        ours = inspect.signature(getattr(KaLMClient, name)).parameters
        assert list(ours) == list(theirs)
        assert {name: one.default for name, one in ours.items()} == {
            name: one.default for name, one in theirs.items()
        }
    assert typing.get_type_hints(RankedDocument) == typing.get_type_hints(RerankersOwn)
    assert inspect.signature(KaLMClient.rank).parameters["compression_ratio"].default is UNSET
