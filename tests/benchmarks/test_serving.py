"""The load test: its clients and comparisons on their own, then all of it against `kalm serve`."""

import importlib
import json
import subprocess
import sys

import pytest

from kalm_reranker import KaLMReranker
from tests.benchmarks.commands import BENCHMARKS, run_benchmark

# Answers each path in its own way, after 10 ms.
SERVER = """
import asyncio

async def client(reader, writer):
    while True:
        try:
            head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode()
        except asyncio.IncompleteReadError:
            break
        path = head.split(" ")[1]
        lines = [line for line in head.split("\\r\\n") if line.startswith("content-length")]
        length = int(lines[0].split(":")[1]) if lines else 0
        body = await reader.readexactly(length)
        await asyncio.sleep(0.01)
        if path == "/drop":
            break
        status = "429 Too Many Requests" if path == "/full" else "200 OK"
        answer = str(len(body)).encode()
        fields = ("HTTP/1.1 " + status, "Retry-After: 7", f"Content-Length: {len(answer)}")
        writer.write("\\r\\n".join((*fields, "", "")).encode() + answer)
        await writer.drain()
    writer.close()

async def main():
    server = await asyncio.start_server(client, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def parts():
    """Modules of the benchmark, by name."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        names = ("client", "server", "load", "equality", "texts")
        yield {name: importlib.import_module(f"serving_{name}") for name in names}
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def server(parts):
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    yield parts["server"].Server(process, "127.0.0.1", int(process.stdout.readline()), 0.0)
    process.kill()
    process.communicate()


def test_clients_send_at_once_and_one_after_the_other(parts, server):
    request = parts["client"].post("/echo", {"query": "Ünï", "documents": ["x" * 100_000]})
    loads = {
        clients: parts["load"].offer(
            server, lambda: request, clients=clients, seconds=0.5, keep_answers=True
        )
        for clients in (1, 8)
    }
    one, eight = (load.summary() for load in loads.values())
    # Each takes 10 ms of waiting and next to no work.
    assert one["p50_ms"] >= 10
    assert 10 < one["requests_per_s"] <= 100
    assert eight["requests_per_s"] > 2 * one["requests_per_s"]
    sent = str(len(json.dumps(request.payload, ensure_ascii=False, separators=(",", ":")).encode()))
    for load in loads.values():
        assert {exchange.answer.body.decode() for exchange in load.exchanges} == {sent}
        assert load.server_rss_bytes > 1e6


def test_refusals_and_lost_connections_are_told_apart(parts, server):
    requests = [parts["client"].get(path) for path in ("/echo", "/full", "/drop", "/echo")]
    load = parts["load"].send_all(server, requests)
    assert load.statuses == {"none": 1, "200": 2, "429": 1}
    assert load.summary()["requests"] == 2
    assert load.with_status(429)[0].answer.headers["retry-after"] == "7"
    assert load.with_status(0)[0].answer is None


def test_large_requests_run_beside_and_are_not_counted(parts, server):
    get = parts["client"].get
    load = parts["load"].offer(
        server, lambda: get("/echo"), clients=1, seconds=0.2, beside=lambda: get("/large")
    )
    assert {exchange.request.path for exchange in load.exchanges} == {"/echo"}
    with pytest.raises(RuntimeError, match="a large request got 429"):
        parts["load"].offer(
            server, lambda: get("/echo"), clients=1, seconds=0.2, beside=lambda: get("/full")
        )


def test_the_same_seed_asks_the_same(parts):
    def drawn(seed):
        texts = parts["texts"].Texts(seed)
        return [texts.small().raw, *(texts.mixed().raw for _ in range(50)), texts.large().raw]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_requests_are_as_large_as_they_say(parts):
    texts = parts["texts"].Texts(0)
    small, large = texts.small().payload["documents"], texts.large().payload["documents"]
    assert len(small) == 5
    assert all(15 <= len(document.split()) <= 30 for document in small)
    assert len(large) == len(set(large)) == 500
    assert {len(document.split()) for document in large} == {200}
    mixed = [texts.mixed().payload for _ in range(200)]
    assert any("pairs" in payload for payload in mixed)
    assert any("instruction" in payload for payload in mixed)
    assert any("compression_ratio" in payload for payload in mixed)
    assert all(payload["return_margin"] for payload in mixed)


@pytest.fixture(scope="module")
def reranker():
    return KaLMReranker("pico", dtype="float32")


def answered(parts, payload, results):
    answer = parts["client"].Answer(200, {}, json.dumps({"results": results}).encode())
    request = parts["client"].post("/v1/rerank", payload)
    return parts["load"].Exchange(request=request, seconds=0.1, status=200, answer=answer)


def right_results(reranker, payload):
    pairs = [(payload["query"], document) for document in payload["documents"]]
    scored = reranker.predict(pairs, return_margin=True)
    results = [
        {"index": index, "score": pair.score, "margin": pair.margin}
        for index, pair in enumerate(scored)
    ]
    return sorted(results, key=lambda result: -result["margin"])


PAYLOAD = {"query": "capital of China?", "documents": ["It is Beijing.", "A cat.", "Paris."]}


def test_right_answers_are_told_from_wrong_ones(parts, reranker):
    differences = parts["equality"].differences
    right = right_results(reranker, PAYLOAD)
    found = differences([answered(parts, PAYLOAD, right)], reranker)
    assert found["pairs"] == 3
    assert found["margin_max"] < 1e-5
    assert found["wrong"] == []

    moved = [{**right[0], "margin": right[0]["margin"] + 0.5}, *right[1:]]
    found = differences([answered(parts, PAYLOAD, moved)], reranker)
    assert found["margin_max"] == pytest.approx(0.5)
    assert found["margin_mean"] == pytest.approx(0.5 / 3, rel=1e-3)

    swapped = [{**right[0], "index": right[1]["index"]}, {**right[1], "index": right[0]["index"]}]
    assert (
        differences([answered(parts, PAYLOAD, [*swapped, right[2]])], reranker)["margin_max"] > 0.1
    )
    (fault,) = differences([answered(parts, PAYLOAD, right[::-1])], reranker)["wrong"]
    assert "not sorted" in fault
    (fault,) = differences([answered(parts, PAYLOAD, right[:2])], reranker)["wrong"]
    assert "for 3 pairs" in fault
    (fault,) = differences([answered(parts, PAYLOAD, [{**right[0], "index": 9}])], reranker)[
        "wrong"
    ]
    assert "[9] for 3 pairs" in fault


def test_pairs_are_compared_in_their_order(parts, reranker):
    pairs = [{"query": "capital of China?", "document": text} for text in PAYLOAD["documents"]]
    payload = {"pairs": pairs, "instruction": "Find the city."}
    scored = reranker.predict(
        [(pair["query"], pair["document"]) for pair in pairs], "Find the city.", return_margin=True
    )
    results = [
        {"index": index, "score": pair.score, "margin": pair.margin}
        for index, pair in enumerate(scored)
    ]
    differences = parts["equality"].differences
    found = differences([answered(parts, payload, results)], reranker)
    assert found["margin_max"] < 1e-5
    assert found["wrong"] == []
    (fault,) = differences([answered(parts, payload, results[::-1])], reranker)["wrong"]
    assert "order of the input" in fault


def test_a_rerankers_own_spread_is_small_in_float32(parts, reranker):
    exchanges = [answered(parts, PAYLOAD, [])] * 3
    for found in parts["equality"].own_spread(exchanges, reranker, pairs=4).values():
        assert found["pairs"] == 6  # whole requests
        assert found["margin_mean"] <= found["margin_max"] < 1e-3


def test_one_client_against_several_on_a_real_server(tmp_path):
    output = tmp_path / "serving.json"
    process, results = run_benchmark(
        "serving.py",
        *("--parts", "small", "--clients", 4, "--rounds", 1, "--output", output),
        *("--round-seconds", 0.5, "--warm-up-seconds", 0.2),
    )
    assert json.loads(output.read_text()) == results
    assert set(results["small"]["loads"]) == {"1 client", "4 clients"}
    assert all(load["requests"] > 0 for load in results["small"]["loads"].values())
    assert results["small"]["speedup"] > 0
    assert "five short documents" in process.stdout


@pytest.mark.slow
def test_all_other_parts_on_real_servers():
    process, results = run_benchmark(
        "serving.py",
        *("--parts", "repeated,large,mixed,stored,overload,abandoned"),
        *("--clients", 4, "--rounds", 1, "--round-seconds", 1, "--warm-up-seconds", 0.5),
        *("--seconds", 2, "--dtypes", "float32", "--spread-pairs", 20),
        *("--passages", 30, "--candidates", 10, "--queries", 2, "--pending", 2),
    )
    assert results["repeated"]["speedup"] > 0
    for found in results["large"].values():
        assert all(load["requests"] > 0 for load in found["loads"].values())
        assert found["p99_ratio"] > 0

    mixed = results["mixed"]["float32"]
    assert set(mixed["statuses"]) <= {"200", "429"}
    assert mixed["differences"]["wrong"] == []
    assert mixed["differences"]["pairs"] > 10
    assert mixed["differences"]["margin_max"] < 1e-3

    assert len(results["stored"]["ways"]) == 6
    assert all(way["p50_ms"] > 0 for way in results["stored"]["ways"].values())

    overload = results["overload"]
    assert set(overload["above"]["statuses"]) == {"200", "429"}
    assert overload["refused"] > 0
    assert all(wait.isdigit() for wait in overload["retry_after"])
    assert overload["healthy_afterwards"]

    assert results["abandoned"]["pending_afterwards"] == 0
    assert results["abandoned"]["after"]["requests"] > 0
    assert "how far margins are from KaLMReranker's" in process.stdout
