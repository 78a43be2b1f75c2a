"""The numbers that Prometheus collects: names, units, labels, and what makes them change."""

import threading
from dataclasses import fields
from types import SimpleNamespace

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from kalm_reranker.server.metrics import REASON_OF_STATUS, REASONS, ServerMetrics, route_template
from kalm_reranker.server.metrics_counts import CACHES, COUNTERS, known_counts
from kalm_reranker.server.routes import metrics as metrics_route
from kalm_reranker.server.settings import Limits
from kalm_reranker.stats import RerankerStats

FACTS = SimpleNamespace(
    name="pico",
    fingerprint="abc",
    dtype="bfloat16",
    device="cpu",
    engine="fused",
    quantization="none",
    compression_ratio=2,
    special_tokens="text",
    calibrated=False,
)


class Counted:
    """What metrics need of a service."""

    def __init__(self, **counts):
        self.numbers = counts

    def facts(self):
        return FACTS

    def counts(self):
        return self.numbers


@pytest.fixture
def metrics():
    return ServerMetrics(Limits(max_pending_requests=7))


def values(metrics):
    """Sample name with labels -> value."""
    return {
        sample.name + "".join(f"|{key}={sample.labels[key]}" for key in sorted(sample.labels)): (
            sample.value
        )
        for family in text_string_to_metric_families(metrics.text()[0].decode())
        for sample in family.samples
    }


def test_requests_are_counted_by_endpoint_and_status(metrics):
    metrics.request_finished("/v1/rerank", 200, 0.004)
    metrics.request_finished("/v1/rerank", 200, 0.3)
    metrics.request_finished("/v1/rerank", 400, 0.001)
    found = values(metrics)
    assert found["kalm_requests_total|endpoint=/v1/rerank|status=200"] == 2
    assert found["kalm_requests_total|endpoint=/v1/rerank|status=400"] == 1
    assert found["kalm_request_duration_seconds_count|endpoint=/v1/rerank"] == 3
    assert found["kalm_request_duration_seconds_bucket|endpoint=/v1/rerank|le=0.005"] == 2
    assert found["kalm_request_duration_seconds_sum|endpoint=/v1/rerank"] == pytest.approx(0.305)


@pytest.mark.parametrize(("status", "reason"), REASON_OF_STATUS.items())
def test_a_status_tells_why_there_was_no_result(metrics, status, reason):
    before = values(metrics)
    metrics.request_finished("/rerank", status, 0.001)
    after = values(metrics)
    changed = {name for name in after if "rejected" in name and after[name] != before.get(name, 0)}
    assert changed == {f"kalm_rejected_total|reason={reason}"}


def test_a_reason_can_be_given_and_never_makes_a_new_label(metrics):
    metrics.request_finished("/v1/passages", 503, 0.001, reason="store_busy")
    metrics.request_finished("/v1/passages", 503, 0.001, reason="x" * 1000)
    found = values(metrics)
    assert found["kalm_rejected_total|reason=store_busy"] == 1
    assert found["kalm_rejected_total|reason=other"] == 1
    assert found["kalm_rejected_total|reason=not_ready"] == 0
    labels = {name for name in found if name.startswith("kalm_rejected_total")}
    assert labels == {f"kalm_rejected_total|reason={reason}" for reason in REASONS}


def test_probes_are_neither_timed_nor_rejections(metrics):
    metrics.request_finished("/health/ready", 503, 0.001)
    found = values(metrics)
    assert found["kalm_requests_total|endpoint=/health/ready|status=503"] == 1
    assert found["kalm_rejected_total|reason=not_ready"] == 0
    assert not any("duration" in name and "health" in name for name in found)


def test_what_is_pending_and_the_state_are_read_at_each_scrape(metrics):
    pending, state = [0, 0], ["loading"]
    metrics.watch_pending(lambda: (pending[0], pending[1]))
    metrics.watch_state(lambda: state[0])
    assert values(metrics)["kalm_server_state|state=loading"] == 1
    pending[:], state[0] = (3, 900), "ready"
    found = values(metrics)
    assert (found["kalm_pending_requests"], found["kalm_pending_bytes"]) == (3, 900)
    assert found["kalm_pending_requests_limit"] == 7
    assert found["kalm_server_state|state=ready"] == 1
    assert found["kalm_server_state|state=loading"] == 0


def test_counts_of_the_service_appear_with_it_and_follow_it(metrics):
    assert not any(name.startswith("kalm_pairs") for name in values(metrics))
    service = Counted(pairs_scored=5, index_passages=782, hot_tier_hits=2, text_cache_bytes=1 << 20)
    metrics.watch_service(service)
    found = values(metrics)
    assert found["kalm_pairs_scored_total"] == 5
    assert found["kalm_index_passages"] == 782
    assert found["kalm_cache_hits_total|cache=stored"] == 2
    assert found["kalm_cache_bytes|cache=text"] == 1 << 20
    model = next(name for name in found if name.startswith("kalm_model_info"))
    assert "|name=pico" in model
    assert "|engine=fused" in model
    service.numbers["pairs_scored"] = 8
    assert values(metrics)["kalm_pairs_scored_total"] == 8


def test_what_a_service_does_not_count_is_left_out(metrics):
    metrics.watch_service(Counted(pairs_scored=5, index_passages=None))
    found = values(metrics)
    assert "kalm_index_passages" not in found
    assert not any(name.startswith("kalm_cache") for name in found)


def test_every_total_of_the_reranker_is_a_metric():
    counted = {field.name for field in fields(RerankerStats) if not field.name.startswith("_")}
    assert counted <= set(COUNTERS)


def test_steps_and_waits_are_counted_from_several_threads(metrics):
    def work():
        for _ in range(200):
            metrics.step_took(0.012)
            metrics.queue_waited(0.3)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = values(metrics)
    assert found["kalm_step_time_seconds_count"] == 800
    assert found["kalm_step_time_seconds_bucket|le=0.01"] == 0
    assert found["kalm_step_time_seconds_bucket|le=0.015"] == 800
    assert found["kalm_queue_time_seconds_bucket|le=0.5"] == 800


def test_two_apps_share_nothing(metrics):
    metrics.request_finished("/rerank", 200, 0.1)
    other = values(ServerMetrics(Limits()))
    assert not any(name.startswith("kalm_requests_total") for name in other)


def test_the_process_is_measured(metrics):
    found = values(metrics)
    assert found["process_resident_memory_bytes"] > 1e6
    assert found["process_cpu_seconds_total"] > 0


def test_names_are_what_prometheus_asks_for(metrics):
    metrics.watch_service(Counted(**dict.fromkeys(known_counts(), 1)))
    for status in (200, 429):
        metrics.request_finished("/rerank", status, 0.1)
    families = list(text_string_to_metric_families(metrics.text()[0].decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    for family in families:
        assert family.documentation, family.name
        assert not family.name.endswith(("_created", "_total_total", "_seconds_seconds"))
        if family.name.startswith("process_"):
            continue
        assert family.name.startswith("kalm_")
        # Base units, never milli or kilo; no unit is hidden in a label.
        assert not any(unit in family.name for unit in ("_ms", "_kb", "_mb", "milli", "percent"))
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)


def test_no_line_tells_when_it_was_made(metrics):
    metrics.request_finished("/rerank", 200, 0.1)
    assert b"_created" not in metrics.text()[0]


def test_openmetrics_is_spoken_where_it_is_asked_for(metrics):
    metrics.request_finished("/rerank", 200, 0.1)
    metrics.watch_service(Counted(**dict.fromkeys(known_counts(), 1)))
    text, content_type = metrics.text("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert "kalm_requests" in {family.name for family in openmetrics(text.decode())}


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html",
        "text/plain; version=x.y",
        "application/openmetrics-text; version=x",
        ";;=,",
    ],
)
def test_any_accept_header_gets_an_answer(metrics, accept):
    text, content_type = metrics.text(accept)
    assert b"kalm_build_info" in text
    assert content_type.startswith(("text/plain", "application/openmetrics-text"))


def test_the_route_serves_them():
    app = FastAPI()
    app.state.metrics = ServerMetrics(Limits())
    app.state.metrics.request_finished("/rerank", 200, 0.1)
    app.include_router(metrics_route.router)
    with TestClient(app) as client:
        answer = client.get("/metrics", headers={"accept": "text/plain"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'kalm_requests_total{endpoint="/rerank",status="200"} 1.0' in answer.text


def test_an_endpoint_is_its_template_whatever_the_path_was():
    seen = []
    app = FastAPI()
    router = APIRouter()

    @router.get("/v1/passages/{id:path}")
    async def passage(id: str):
        return id

    app.include_router(router)

    async def noting(scope, receive, send):
        await app(scope, receive, send)
        if scope["type"] == "http":
            seen.append(route_template(scope))

    with TestClient(noting, root_path="/api") as client:
        client.get("/v1/passages/a")
        client.get("/api/v1/passages/b%2Fc%0A")
        client.post("/v1/passages/a")
        client.get("/nothing/here")
        client.get("/../../etc/passwd")
    known = "/v1/passages/{id}"
    assert seen[0] == known
    assert seen[2] == known
    assert set(seen) == {known, "other"}


def test_every_cache_is_named_once():
    assert len(set(CACHES.values())) == len(CACHES)
