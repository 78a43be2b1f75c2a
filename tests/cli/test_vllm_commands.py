"""The commands of the reference's vLLM adapter, in this process; the server is a scripted one."""

import json
import sys
from pathlib import Path

import pytest

from kalm_reranker import KaLMReranker
from kalm_reranker.cli import vllm_client, vllm_rerank, vllm_serve
from tests.client.scripted_server import ScriptedServer, answer, refuse

COMMANDS = {"client": vllm_client, "rerank": vllm_rerank, "serve": vllm_serve}
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command with arguments; returns exit code, stdout and stderr."""
    monkeypatch.delenv("KALM_API_KEY", raising=False)
    monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")  # or the command would set it for all tests

    def ran(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        code = 0
        try:
            COMMANDS[name].main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return ran


@pytest.fixture
def server():
    running = ScriptedServer()
    yield running
    running.close()


def test_rerank_ranks_the_references_example(run):
    code, out, err = run("rerank", "--model", "pico", "--return-margin", "--dtype", "float32")
    assert (code, err) == (0, "")
    found = json.loads(out)
    reranker = KaLMReranker(
        "pico", dtype="float32", query_max_length=512, max_length=1024, chunk_size=4
    )
    expected = reranker.rank(
        "What is the capital of China?",
        ["The capital of China is Beijing.", "Gravity attracts bodies toward one another."],
        return_margin=True,
    )
    assert (found["object"], found["model"]) == ("rerank", "pico")
    assert [one["index"] for one in found["results"]] == [0, 1]
    for one, other in zip(found["results"], expected, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-6)
        assert one["margin"] == pytest.approx(other["margin"], abs=1e-5)


def test_rerank_reads_a_request_or_takes_texts(run, tmp_path):
    code, out, _ = run("rerank", "--model", "pico", "--json-file", EXAMPLES / "rerank_request.json")
    results = json.loads(out)["results"]
    assert (code, [sorted(one) for one in results]) == (0, [["index", "score"]] * 3)
    assert results[0]["index"] == 1
    texts = ["--query", "q", "--document", "a", "--document", "b", "--top-k", 1]
    code, out, _ = run("rerank", "--model", "pico", *texts)
    assert (code, len(json.loads(out)["results"])) == (0, 1)
    assert run("rerank", "--json-file", "x.json", "--query", "q")[0] == 2
    for value, words in (
        ({"query": "q"}, "must have 'documents', a list that is not empty"),
        ({"query": "q", "documents": ["a"], "stream": True}, "'stream' has no meaning here"),
        ([1], "must hold a JSON object"),
    ):
        file = tmp_path / "request.json"
        file.write_text(json.dumps(value))
        code, out, err = run("rerank", "--model", "pico", "--json-file", file)
        assert (code, out) == (1, "")
        assert words in err


def test_the_default_model_needs_a_network_and_the_error_says_what_does_not(run, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", "/nowhere")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, out, err = run("rerank")
    assert (code, out) == (1, "")
    assert "error: KaLM-Embedding/KaLM-Reranker-V1-Nano is not on this machine" in err
    assert "hint: `--model pico` works offline." in err


@pytest.mark.parametrize("name", ["rerank", "serve"])
def test_only_the_references_chunk_sizes(run, name):
    code, out, err = run(name, "--model", "pico", "--encoder-chunk-size", 3)
    assert (code, out) == (1, "")
    assert "must be one of 1, 2, 4, 8, 16, 32; got 3." in err
    assert "kalm serve" in err


@pytest.mark.parametrize("name", ["rerank", "serve"])
def test_the_help_says_which_engine_runs(run, name):
    code, out, _ = run(name, "--help")
    words = " ".join(out.split())
    assert code == 0
    assert "own engine runs, not vLLM" in words
    assert "VLLM_PLUGINS is ignored" in words


def test_vllms_variable_is_noted_and_ignored(run, monkeypatch):
    monkeypatch.setenv("VLLM_PLUGINS", "kalm_t5gemma2")
    code, out, err = run("rerank", "--model", "pico")
    assert code == 0
    assert json.loads(out)
    assert err == (
        "note: VLLM_PLUGINS is ignored: this command runs kalm-reranker's own engine, not vLLM\n"
    )


def test_serve_checks_that_the_lengths_fit(run):
    code, _, err = run("serve", "--max-model-len", 1024)
    assert code == 1
    assert "--max-model-len must be at least 1664: 512 tokens of a query, 1024 of a document" in err
    code, _, err = run("serve", "--query-max-length", 1500)
    assert code == 1
    assert "at least 2652" in err


@pytest.mark.parametrize("flag", ["--gpu-memory-utilization", "--tensor-parallel-size"])
def test_vllms_other_flags_are_refused(run, flag):
    code, _, err = run("serve", flag, 1)
    assert code == 2
    assert flag in err


def test_client_prints_health(run, server):
    server.script = [answer({"status": "ok", "model": "pico"})]
    code, out, err = run("client", "--base-url", server.url, "--health")
    assert (code, json.loads(out), err) == (0, {"status": "ok", "model": "pico"}, "")
    server.script = [answer({"status": "loading"}, 503)]
    code, out, err = run("client", "--base-url", server.url, "--health")
    assert (code, json.loads(out), err) == (1, {"status": "loading"}, "")


def test_client_sends_a_file_and_its_flags_win(run, server, tmp_path):
    given = json.loads((EXAMPLES / "rerank_request.json").read_text())
    server.script = [answer({"object": "rerank", "results": [{"text": "北京"}]})]
    arguments = ["client", "--base-url", server.url, "--json-file"]
    code, out, err = run(*arguments, EXAMPLES / "rerank_request.json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"object": "rerank", "results": [{"text": "北京"}]}
    assert (server.seen[0].path, server.seen[0].body) == ("/rerank", given)
    file = tmp_path / "request.json"
    file.write_text(json.dumps({**given, "top_n": 9, "x": None}))
    run(*arguments, file, "--endpoint", "rerank", "--return-margin", "--top-k", 1)
    assert server.seen[1].body == {**given, "top_k": 1, "return_margin": True, "x": None}
    run(*arguments, EXAMPLES / "score_request.json", "--endpoint", "score", "--return-margin")
    assert server.seen[2].path == "/score"
    assert server.seen[2].body["return_margin"] is True


def test_client_shows_what_a_server_refused(run, server):
    server.script = [refuse(400, "documents: must be a list.", "invalid_value")]
    arguments = ["--base-url", server.url, "--json-file", EXAMPLES / "rerank_request.json"]
    code, out, err = run("client", *arguments)
    assert (code, out) == (1, "")
    assert "error: The server refused POST /rerank with 400 invalid_value: documents: must" in err


def test_client_without_a_server(run, server):
    server.close()
    code, out, err = run("client", "--base-url", server.url, "--health")
    assert (code, out) == (1, "")
    assert f"error: The server at {server.url} cannot be reached" in err
    assert "hint: Is it up?" in err


def test_client_shows_its_key(run, server, tmp_path):
    server.script = [answer({"status": "ok"})]
    file = tmp_path / "keys"
    file.write_text("# ours\nfirst-key\nsecond-key\n")
    run("client", "--base-url", server.url, "--health", "--api-key-file", file)
    assert server.seen[0].headers["authorization"] == "Bearer first-key"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--health", "--json-file", "x"],
        ["--json-file", "x", "--endpoint", "classify"],
        ["--json-file", "x", "--endpoint", "score", "--top-k", "3"],
        ["--json-file", "x", "--top-k", "0"],
    ],
    ids=" ".join,
)
def test_client_refuses_what_makes_no_sense(run, arguments):
    code, out, err = run("client", *arguments)
    assert (code, out) == (2, "")
    assert err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "must hold a JSON object, the body of a request; got []"),
        (b"[" * 100_000, "is not JSON"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_files_that_hold_no_request(run, server, tmp_path, text, words):
    file = tmp_path / "request.json"
    if text is not None:
        file.write_bytes(text)
    code, out, err = run("client", "--base-url", server.url, "--json-file", file)
    assert (code, out, server.seen) == (1, "", [])
    assert words in err
