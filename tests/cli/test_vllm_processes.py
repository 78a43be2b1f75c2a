"""The adapter's commands as its users run them: a server in one process, clients in others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kalm_reranker import KaLMReranker
from tests.server.running import ServerProcess

BIN = Path(sys.executable).parent
EXAMPLES = Path(__file__).parents[2] / "examples"
SERVE = ("-c", "from kalm_reranker.cli.vllm_serve import main; main()")


def client(*arguments, **environment):
    return subprocess.run(
        [BIN / "kalm-vllm-client", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "KALM_API_KEY": "key-two", **environment},
    )


@pytest.fixture(scope="module")
def reranker():
    """With the settings that the commands take from the reference."""
    return KaLMReranker(
        "pico",
        dtype="float32",
        query_max_length=512,
        max_length=1024,
        chunk_size=4,
        special_tokens="text",
    )


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("key-one  # ours\nkey-two\n")
    return file


@pytest.fixture(scope="module")
def server(keys):
    options = ["--model", "pico", "--port", "0", "--dtype", "float32", "--max-model-len", "2048"]
    running = ServerProcess(*SERVE, *options, "--api-key-file", str(keys))
    try:
        running.line_with("ready")
        yield running
        running.signal()
        assert running.ended() == 0
    finally:
        running.close()


@pytest.mark.parametrize("name", ["client", "rerank", "serve"])
def test_the_commands_are_installed(name):
    done = subprocess.run(
        [BIN / f"kalm-vllm-{name}", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "--help" in done.stdout


def test_health_shows_the_lengths_in_force(server):
    done = client("--base-url", server.url, "--health")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["status"], found["model"], found["dtype"]) == ("ok", "pico", "float32")
    lengths = (found["query_max_length"], found["max_length"], found["compression_ratio"])
    assert lengths == (512, 1024, 4)


def test_rerank_as_in_the_references_example(server, reranker):
    file = EXAMPLES / "rerank_request.json"
    flags = ["--endpoint", "rerank", "--json-file", file, "--return-margin", "--top-k", 2]
    done = client("--base-url", server.url, *flags)
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    given = json.loads(file.read_text())
    expected = reranker.rank(
        given["query"], given["documents"], given["instruction"], top_k=2, return_margin=True
    )
    assert answer["object"] == "rerank"
    assert [one["index"] for one in answer["results"]] == [one["corpus_id"] for one in expected]
    for one, other in zip(answer["results"], expected, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-6)
        assert one["margin"] == pytest.approx(other["margin"], abs=2e-5)


def test_score_as_in_the_references_example(server, reranker):
    file = EXAMPLES / "score_request.json"
    done = client("--base-url", server.url, "--endpoint", "score", "--json-file", file)
    assert (done.returncode, done.stderr) == (0, "")
    results = json.loads(done.stdout)["results"]
    given = json.loads(file.read_text())
    pairs = [(pair["query"], pair["document"]) for pair in given["pairs"]]
    expected = reranker.predict(pairs, given["instruction"])
    assert [one["score"] for one in results] == pytest.approx(expected, abs=1e-6)
    assert [one.get("id") for one in results] == ["capital", "gravity", None]
    assert not any("margin" in one for one in results)


def test_a_request_that_makes_no_sense(server, tmp_path):
    file = tmp_path / "request.json"
    file.write_text('{"query": "q", "documents": [3]}')
    done = client("--base-url", server.url, "--json-file", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: The server refused POST /rerank with 400" in done.stderr
    assert "documents" in done.stderr


def test_keys_guard_the_server(server, keys):
    request = ["--base-url", server.url, "--json-file", EXAMPLES / "score_request.json"]
    request += ["--endpoint", "score"]
    done = client(*request, KALM_API_KEY="")
    assert (done.returncode, done.stdout) == (1, "")
    assert "401 unauthorized" in done.stderr
    assert "hint: Give the server's API key" in done.stderr
    assert client(*request, "--api-key-file", keys, KALM_API_KEY="").returncode == 0


def test_a_model_that_cannot_be_fetched_ends_the_server():
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": "/nowhere", "VLLM_PLUGINS": "kalm_t5gemma2"}
    running = ServerProcess(*SERVE, "--port", "0", **offline)
    try:
        assert running.ended() == 1
        said = "\n".join(running.lines)
        assert "note: VLLM_PLUGINS is ignored" in said
        assert "error: KaLM-Embedding/KaLM-Reranker-V1-Nano is not on this machine" in said
        assert "hint: `--model pico` works offline." in said
        assert "Traceback" not in said
    finally:
        running.close()
