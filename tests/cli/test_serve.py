"""`kalm serve`: its options, and the server it starts."""

import socket
import subprocess
import sys
import threading
from dataclasses import fields, replace
from pathlib import Path

import httpx
import pytest

from kalm_reranker.reranker import KaLMReranker
from kalm_reranker.server import run
from kalm_reranker.server.settings import Limits, ModelSettings, ServerSettings
from tests.server.running import ServerProcess, client_of, wait_until

KALM = ("-c", "from kalm_reranker.cli.main import main; main()")
DEFAULT = ServerSettings(model=ModelSettings(model="pico"))

# Field -> what to type, and the value that makes.
MODEL = {
    "model": ("--model nano", "nano"),
    "index": ("--index folder", Path("folder")),
    "compression_ratio": ("--compression-ratio none", None),
    "max_length": ("--max-length 100", 100),
    "long_documents": ("--long-documents windows", "windows"),
    "query_max_length": ("--query-max-length 50", 50),
    "device": ("--device cpu", "cpu"),
    "dtype": ("--dtype float32", "float32"),
    "engine": ("--engine eager", "eager"),
    "quantization": ("--quantization int8", "int8"),
    "threads": ("--threads 2", 2),
    "prefix_cache_bytes": ("--prefix-cache-bytes 10", 10),
    "deterministic": ("--deterministic", True),
    "calibration": ("--calibration file.json", Path("file.json")),
    "special_tokens": ("--special-tokens control", "control"),
    "hot_bytes": ("--hot-bytes 11", 11),
    "warm_up": ("--no-warm-up", False),
}
LIMITS = {
    "max_documents": ("--max-documents 2", 2),
    "max_body_bytes": ("--max-body-bytes 3", 3),
    "max_pending_requests": ("--max-pending-requests 4", 4),
    "max_pending_bytes": ("--max-pending-bytes 99999999", 99_999_999),
    "max_instruction_tokens": ("--max-instruction-tokens 5", 5),
    "max_results": ("--max-results 6", 6),
    "request_timeout_s": ("--request-timeout 7.5", 7.5),
    "body_timeout_s": ("--body-timeout 8", 8.0),
    "drain_timeout_s": ("--drain-timeout 9", 9.0),
    "text_cache_bytes": ("--text-cache-bytes 0", 0),
    "states_bytes": ("--states-bytes 12", 12),
    "target_step_s": ("--target-step 0.5", 0.5),
}
SERVER = {
    "host": ("--host ::1", "::1"),
    "port": ("--port 0", 0),
    "served_model_names": ("--served-model-name a --served-model-name b", ("a", "b")),
    "allowed_hosts": ("--allowed-host a --allowed-host b", ("a", "b")),
    "cors_origins": ("--cors-origin http://a", ("http://a",)),
    "read_only": ("--read-only", True),
    "docs": ("--no-docs", False),
    "root_path": ("--root-path /x", "/x"),
    "log_requests": ("--no-log-requests", False),
}


@pytest.fixture
def settings_of(kalm, monkeypatch):
    """What options make of the settings."""
    monkeypatch.delenv("KALM_API_KEYS", raising=False)

    def settings(*options):
        seen = []
        monkeypatch.setattr(run, "serve", lambda settings, load, announce: seen.append(settings))
        code, _, stderr = kalm("serve", *options)
        assert code == 0, stderr
        return seen[0]

    return settings


def test_without_options_the_settings_are_the_default_ones(settings_of):
    assert settings_of() == DEFAULT


@pytest.mark.parametrize("field", fields(ModelSettings), ids=lambda field: field.name)
def test_each_setting_of_the_model(settings_of, field):
    options, value = MODEL[field.name]
    expected = replace(DEFAULT.model, **{field.name: value})
    if field.name == "index":
        expected = replace(expected, model=None)  # the index's own
    assert settings_of(*options.split()) == replace(DEFAULT, model=expected)


@pytest.mark.parametrize("field", fields(Limits), ids=lambda field: field.name)
def test_each_limit(settings_of, field):
    options, value = LIMITS[field.name]
    limits = replace(Limits(), **{field.name: value})
    assert settings_of(*options.split()) == replace(DEFAULT, limits=limits)


@pytest.mark.parametrize("field", fields(ServerSettings), ids=lambda field: field.name)
def test_each_setting_of_the_server(settings_of, field, tmp_path, monkeypatch):
    if field.name in ("model", "limits"):
        return
    if field.name == "api_keys":  # never on the command line
        file = tmp_path / "keys"
        file.write_text("one\n")
        monkeypatch.setenv("KALM_API_KEYS", "two,three")
        options, value = f"--api-key-file {file}", ("two", "three", "one")
    else:
        options, value = SERVER[field.name]
    assert settings_of(*options.split()) == replace(DEFAULT, **{field.name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--max-documents 0", "max_documents must be a positive integer"),
        ("--port 70000", "port must be from 0 to 65535"),
        ("--request-timeout nan", "request_timeout_s must be a positive number of seconds"),
        ("--compression-ratio x", "must be a positive integer or 'none'"),
        ("--max-pending-bytes 1", "max_pending_bytes must be at least max_body_bytes"),
        ("--api-key-file /none", "cannot be read"),
        ("--host no.such.name.invalid", "must be an address or a name of this machine"),
    ],
)
def test_settings_that_make_no_sense(kalm, monkeypatch, options, message):
    monkeypatch.delenv("KALM_API_KEYS", raising=False)
    code, stdout, stderr = kalm("serve", *options.split())
    assert (code, stdout) == (1, "")
    assert stderr.startswith("error: ")
    assert message in stderr


def test_a_port_in_use(kalm):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, _, stderr = kalm("serve", "--port", str(port))
    assert code == 1
    assert stderr.startswith(f"error: cannot listen on 127.0.0.1, port {port}: another program")
    assert "hint: Choose another --port" in stderr


def test_a_missing_library(kalm, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, stderr = kalm("serve")
    assert code == 1
    assert "Serving over HTTP needs the Python module 'uvicorn'" in stderr
    assert 'hint: pip install "kalm-reranker[server]"' in stderr


def test_help_costs_no_library():
    code = (
        "import sys; from kalm_reranker.cli.main import main\n"
        "sys.argv = ['kalm', 'serve', '--help']\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'fastapi', 'uvicorn', 'starlette') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--drain-timeout" in done.stdout


@pytest.fixture(scope="module")
def served():
    """A server of the bundled model, started as users start it."""
    options = "--port 0 --no-warm-up --dtype float32 --threads 1"
    server = ServerProcess(*KALM, "serve", *options.split(), KALM_API_KEYS="k1 k2")
    try:
        server.line_with("ready: pico, loaded in")
        yield server
    finally:
        server.close()


def test_it_answers_as_the_reranker_does(served):
    question, documents = "capital of China?", ["Beijing is the capital.", "Bodies attract.", "x"]
    answer = httpx.post(
        f"{served.url}/rerank",
        json={"query": question, "documents": documents, "return_margin": True},
        headers={"authorization": "Bearer k2"},
        trust_env=False,
    )
    assert answer.status_code == 200
    expected = KaLMReranker("pico", dtype="float32", threads=1, special_tokens="text").rank(
        question, documents, return_margin=True
    )
    got = answer.json()["results"]
    assert [row["index"] for row in got] == [row["corpus_id"] for row in expected]
    for row, reference in zip(got, expected, strict=True):
        assert row["margin"] == pytest.approx(reference["margin"], abs=1e-4)


def test_it_says_how_it_is(served):
    known = httpx.get(f"{served.url}/health", headers={"x-api-key": "k1"}, trust_env=False).json()
    assert known["status"] == "ok"
    assert known["model"] == "pico"
    assert known["memory_bytes"] > 50_000_000
    unknown = httpx.get(f"{served.url}/health", trust_env=False)
    assert unknown.json() == {"status": "ok"}
    assert httpx.get(f"{served.url}/v1/models", trust_env=False).status_code == 401


def test_its_log_has_a_line_for_each_request(served):
    httpx.get(f"{served.url}/ping?x=secret", headers={"x-request-id": "logged-1"}, trust_env=False)
    line = served.line_with("id=logged-1")
    assert " INFO GET /ping 200 " in line
    assert not any("secret" in line or "k1" in line for line in served.lines)


def test_a_signal_ends_it_when_all_is_answered(served):
    """Last, since it ends the server of the others."""
    documents = [f"passage {number} of the whole " * 20 for number in range(60)]
    answers = []

    def ask(query):
        with client_of(served, headers={"x-api-key": "k1"}) as client:
            answers.append(
                client.post("/rerank", json={"query": query, "documents": documents, "top_n": 3})
            )

    threads = [threading.Thread(target=ask, args=(f"which is {n}?",)) for n in range(6)]
    for thread in threads:
        thread.start()
    with client_of(served, headers={"x-api-key": "k1"}) as client:
        wait_until(lambda: client.get("/health").json()["pending_requests"] == 6 or answers)
    assert not answers
    served.signal()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 6
    assert all(len(answer.json()["results"]) == 3 for answer in answers)
    assert served.ended() == 0
    served.line_with("finishing 6 requests")
    assert not any("Traceback" in line or "rror" in line for line in served.lines)
