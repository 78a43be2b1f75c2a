"""docs/serving.md says what is: its examples print what they print, and nothing is left out."""

import re
import shutil

import httpx
import pytest
import typer

from kalm_reranker import PassageIndex
from kalm_reranker.cli.main import app
from kalm_reranker.server.app import build_app
from kalm_reranker.server.lifecycle import Lifecycle
from kalm_reranker.server.metrics import REASONS, ServerMetrics
from kalm_reranker.server.metrics_counts import (
    CACHE_COUNTERS,
    CACHE_GAUGES,
    COUNTERS,
    GAUGES,
    MEASURED_ELSEWHERE,
    known_counts,
)
from kalm_reranker.server.settings import Limits, ServerSettings
from tests.server.running import ServerProcess
from tests.server.serving_doc import DOC, difference, examples, run

TEXT = DOC.read_text(encoding="utf-8")


def section(title):
    start = TEXT.index(f"\n## {title}\n")
    return TEXT[start : TEXT.find("\n## ", start + 1)]


def test_all_options_are_explained_and_there_are_no_others():
    command = typer.main.get_command(app).commands["serve"]
    there = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    rows = [line for line in section("Options").splitlines() if line.startswith("| `")]
    told = set(re.findall(r"`(--?[a-z-]+)`", " ".join(row.split("|")[1] for row in rows)))
    assert told == there - {"--help", "-h"}
    # Elsewhere in the text, also in commands of other programs.
    others = {"--cors", "--gpus", "--build-arg", "--target", "--rm", "--json", "--help"}
    others |= {"--rounds", "--round-seconds"}
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT))
    assert mentioned - others <= there


def test_limits_have_the_defaults_that_are_told():
    limits = Limits()
    rows = dict(re.findall(r"^\| `--([a-z-]+)` \| ([^|]+) \|", section("Options"), re.MULTILINE))
    for name, told in rows.items():
        field = name.replace("-", "_")
        value = getattr(limits, field, getattr(limits, f"{field}_s", None))
        if value is None:
            continue
        number, _, unit = told.strip().partition(" ")
        told_value = (
            float(number.replace(",", "")) * {"GiB": 2**30, "MiB": 2**20, "s": 1, "": 1}[unit]
        )
        assert told_value == value, name


def test_all_endpoints_are_named():
    settings = ServerSettings()
    served = build_app(settings, Lifecycle(settings, lambda _: None))
    paths = {*served.openapi()["paths"], "/docs", "/openapi.json"}
    assert "/v1/rerank" in paths
    text = section("Endpoints").replace(", GET ", "`, `")
    told = set(re.findall(r"`(?:[A-Z]+ )?(/[^`\s]*)`", text))
    assert paths == told


def test_all_error_codes_are_explained():
    package = DOC.parents[1] / "src" / "kalm_reranker" / "server"
    source = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    codes = set(re.findall(r'code(?:: str)? ?= ?"([a-z_]+)"', source))
    codes -= {"client_gone", "refused"}  # nobody reads the one, nothing of ours raises the other
    told = set(re.findall(r"`([a-z_]+)`", section("Errors")))
    assert "model_not_found" in codes
    assert codes - told == set()


def test_metrics_that_are_named_exist():
    metrics = ServerMetrics(Limits())
    known = metrics.text()[0].decode()
    named = re.findall(r"`(kalm_[a-z_{},]+?)(?:\{[a-z,]+\})?`", section("Watch it"))
    assert len(named) > 15
    counted = {f"{name}_total" for name, _ in (*COUNTERS.values(), *CACHE_COUNTERS.values())}
    counted |= {name for name, _ in (*GAUGES.values(), *CACHE_GAUGES.values())}
    for name in named:
        parts = re.match(r"(.*)\{([a-z_,]+)\}(.*)", name)
        alternatives = parts[2].split(",") if parts else [""]
        for part in alternatives:
            whole = f"{parts[1]}{part}{parts[3]}" if parts else name
            assert whole in counted or re.search(rf"^# TYPE {whole} ", known, re.MULTILINE), whole
    reasons = re.search(r"`kalm_rejected_total\{reason\}` \|([^|]*)\|", TEXT)[1]
    assert set(re.findall(r"`([a-z_]+)`", reasons)) <= set(REASONS)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index") / "my-index"
    PassageIndex.create(folder, "pico").close()
    command = "from kalm_reranker.cli.main import main; main()"
    process = ServerProcess("-c", command, "serve", "--port", "0", "--index", str(folder))
    try:
        process.line_with("ready:")
        yield process.url.removeprefix("http://")
        process.signal()
        assert process.ended() == 0
    finally:
        process.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_examples_print_what_the_document_says(address):
    told = examples()
    assert len(told) >= 15
    for example in told:
        found = difference(example.output, run(example.command, address))
        assert found is None, f"{example.command}: {found}"


def test_all_that_a_server_counts_is_collected(address):
    query = {"query": "capital of China?", "documents": ["Some text that is new here."]}
    assert httpx.post(f"http://{address}/v1/rerank", json=query).status_code == 200
    counts = httpx.get(f"http://{address}/info").json()["counts"]
    assert set(counts) - MEASURED_ELSEWHERE == known_counts()
    metrics = httpx.get(f"http://{address}/metrics").text
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[0] != "#")
    # The engine tells of each call and each batch, as well as of their sums.
    assert float(values["kalm_queue_time_seconds_count"]) == counts["requests"]
    assert float(values["kalm_step_time_seconds_count"]) == counts["steps"]
    assert float(values["kalm_step_time_seconds_sum"]) == pytest.approx(counts["step_seconds"])
    assert float(values["kalm_pairs_scored_total"]) == counts["pairs_scored"]
    assert float(values['kalm_requests_total{endpoint="/v1/rerank",status="200"}']) >= 1
    assert float(values["kalm_pending_requests"]) == 0


def test_an_example_that_is_not_true_would_be_found():
    told = '{"id": "a", "results": [{"index": 1, "score": 0.5}], "created": 1}'
    assert difference(told, told.replace('"a"', '"b"').replace("0.5", "0.501")) is None
    for seen in (
        told.replace("0.5", "0.6"),
        told.replace('"index": 1', '"index": 2'),
        told.replace('"score"', '"scores"'),
        told.replace("results", "result"),
        told.replace("[{", "[{}, {"),
        "internal error",
    ):
        assert difference(told, seen) is not None
