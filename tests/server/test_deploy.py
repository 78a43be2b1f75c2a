"""Files of deploy/ and commands of docs/serving.md are true: flags, names, metrics, time limits."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from configparser import ConfigParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families

from kalm_reranker.cli.main import app
from kalm_reranker.server.metrics import REASONS, STATES, ServerMetrics
from kalm_reranker.server.metrics_counts import known_counts
from kalm_reranker.server.settings import Limits

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DRAIN_S = Limits().drain_timeout_s
LAST_BYTES_S = 5  # that uvicorn waits for clients that read slowly


def serve_options():
    """Every option of `kalm serve`."""
    command = typer.main.get_command(app).commands["serve"]
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)}


def flags_in(words):
    return {word.split("=")[0] for word in words if word.startswith("--")}


# --- Dockerfile


def instructions():
    """(instruction, arguments) of the Dockerfile, lines joined."""
    text = (DEPLOY / "Dockerfile").read_text()
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line.strip()]


def stages():
    """Name of a stage -> (what it is made from, its instructions)."""
    found, current = {}, None
    for name, arguments in instructions():
        if name == "FROM":
            source, _, current = arguments.partition(" AS ")
            found[current] = (source, [])
        elif current is not None:
            found[current][1].append((name, arguments))
    return found


def lineage(stage):
    """A stage's instructions, with those of what it is made from before them."""
    found = stages()
    chain = []
    while stage in found:
        source, own = found[stage]
        chain = own + chain
        stage = source
    return chain


def test_images_are_made_of_stages_and_files_that_exist():
    known = {}
    for stage, (source, own) in stages().items():
        assert source in known or source == "${BASE_IMAGE}"
        for name, arguments in own:
            if name != "COPY":
                continue
            words = arguments.split()
            if words[0].startswith("--from="):
                assert words[0].removeprefix("--from=") in known
            else:
                assert all((ROOT / path).exists() for path in words[:-1]), arguments
        known[stage] = source
    assert {"cpu", "cuda"} <= set(known)
    assert list(known)[-1] == "cpu"  # what is built where no target is named


def test_what_is_copied_is_sent_to_the_builder():
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignore[1] == "*"
    sent = {line[1:] for line in ignore if line.startswith("!")}
    for name, arguments in instructions():
        if name == "COPY" and not arguments.startswith("--from="):
            assert set(arguments.split()[:-1]) <= sent
    # What hatchling reads, besides the package.
    assert {"README.md", "LICENSE", "NOTICE", "pyproject.toml", "src"} <= sent


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_an_image_runs_as_a_user_without_rights_and_ends_when_told(target):
    last = dict(lineage(target))
    assert last["USER"] == "kalm"
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert last["VOLUME"] == "/var/lib/kalm"
    # The volume takes its owner from the folder, which must be there before.
    names = [name for name, _ in lineage(target)]
    made = next(i for i, (_, text) in enumerate(lineage(target)) if "install --directory" in text)
    assert made < names.index("VOLUME")


def test_no_host_is_named_but_by_whoever_builds():
    text = (DEPLOY / "Dockerfile").read_text() + (DEPLOY / "compose.yaml").read_text()
    hosts = re.findall(r"https?://([\w.:-]+)", text)
    assert set(hosts) <= {"127.0.0.1:8000"}


def test_extras_and_pins_of_the_image_exist():
    text = (DEPLOY / "Dockerfile").read_text()
    (names,) = set(re.findall(r'"/src\[([a-z,]+)\]"', text))
    project = (ROOT / "pyproject.toml").read_text()
    assert all(re.search(rf"^{name} = \[", project, re.MULTILINE) for name in names.split(","))
    assert len(re.findall(r"^torch==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)) == 1


def test_the_images_command_is_one_of_ours():
    last = dict(lineage("cpu"))
    words = json.loads(last["ENTRYPOINT"]) + json.loads(last["CMD"])
    assert words[:2] == ["kalm", "serve"]
    assert flags_in(words) <= serve_options()
    assert words[words.index("--port") + 1] == last["EXPOSE"]


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_tells_ready_from_not_ready(status, healthy):
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    check = dict(lineage("cpu"))["HEALTHCHECK"]
    interpreter, *arguments = json.loads(check[check.index("CMD") + 3 :])
    assert interpreter == "python"
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.handle_request).start()
        arguments = [word.replace(":8000", f":{server.server_port}") for word in arguments]
        done = subprocess.run([sys.executable, *arguments], capture_output=True, timeout=60)
    assert (done.returncode == 0) is healthy
    assert asked == ["/health/ready"]


# --- Compose


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_compose_builds_targets_that_exist_with_arguments_they_take(compose):
    for service in compose["services"].values():
        build = service["build"]
        assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
        assert build["target"] in stages()
        installs = next(
            words.split()[0].removeprefix("--from=")
            for name, words in lineage(build["target"])
            if name == "COPY"
        )
        taken = {text.split("=")[0] for name, text in lineage(installs) if name == "ARG"}
        assert set(build["args"]) <= taken


def test_compose_serves_safely_and_drains(compose):
    for service in compose["services"].values():
        assert flags_in(service["command"]) <= serve_options()
        assert service["ports"] == ["${KALM_BIND:-127.0.0.1}:${KALM_PORT:-8000}:8000"]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert int(service["stop_grace_period"].rstrip("s")) > DRAIN_S + LAST_BYTES_S
        mounted = {volume.split(":")[0] for volume in service["volumes"]}
        assert mounted <= set(compose["volumes"])


# --- systemd


@pytest.fixture(scope="module")
def unit():
    parser = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str
    parser.read(DEPLOY / "kalm-serve.service")
    return parser


def test_the_units_command_is_one_of_ours(unit):
    words = shlex.split(unit["Service"]["ExecStart"])
    assert words[:2] == ["/opt/kalm/bin/kalm", "serve"]
    assert flags_in(words) <= serve_options()
    credential = unit["Service"]["LoadCredential"].split(":")[0]
    assert words[words.index("--api-key-file") + 1].endswith(f"/{credential}")


def test_the_unit_gives_the_server_time_to_drain(unit):
    assert int(unit["Service"]["TimeoutStopSec"]) > DRAIN_S + LAST_BYTES_S
    assert unit["Service"]["KillSignal"] == "SIGTERM"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_knows_every_setting_of_the_unit(tmp_path):
    text = (DEPLOY / "kalm-serve.service").read_text()
    path = tmp_path / "kalm-serve.service"
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# --- Prometheus


@pytest.fixture(scope="module")
def exported():
    """Sample name -> label names, of a server that has done everything once."""
    metrics = ServerMetrics(Limits())
    facts = SimpleNamespace(name="pico", fingerprint="f", dtype="d", device="cpu", engine="e")
    for name in ("quantization", "compression_ratio", "special_tokens", "calibrated"):
        setattr(facts, name, "x")
    counts = dict.fromkeys(known_counts(), 1)
    metrics.watch_service(SimpleNamespace(facts=lambda: facts, counts=lambda: counts))
    metrics.request_finished("/rerank", 200, 0.1)
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(metrics.text()[0].decode())
        for sample in family.samples
    }


def rules():
    groups = yaml.safe_load((DEPLOY / "kalm-alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is(rule, exported):
    expression = rule["expr"]
    asked = re.findall(r"(kalm_\w+|process_\w+)(?:\{([^}]*)\})?", expression)
    assert asked or expression == 'up{job="kalm"} == 0'
    for name, matchers in asked:
        assert name in exported
        for label, value in re.findall(r'(\w+)="([^"]*)"', matchers):
            assert label in exported[name]
            assert value in {"state": STATES, "reason": REASONS, "status": ("500",)}[label]
    assert expression.count("(") == expression.count(")")
    assert rule["annotations"]["summary"]


def test_prometheus_finds_rules_and_metrics():
    settings = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    assert all((DEPLOY / path).exists() for path in settings["rule_files"])
    (job,) = settings["scrape_configs"]
    assert job["job_name"] == "kalm"
    assert job["metrics_path"] == "/metrics"
