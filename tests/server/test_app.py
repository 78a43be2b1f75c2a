"""What holds for all paths: unknown ones, other methods, other sites, the documentation."""

import json

import pytest

from kalm_reranker.server.http.request_scope import RequestScope
from kalm_reranker.server.openapi_3_0 import as_openapi_3_0
from tests.server.arithmetic import Arithmetic
from tests.server.running import shared_client

PATHS = ["/health", "/health/live", "/health/ready", "/ping", "/metrics", "/openapi.json", "/docs"]


PREFLIGHT = {"origin": "https://page.example", "access-control-request-method": "POST"}


@pytest.fixture(scope="module")
def client():
    with shared_client(Arithmetic()) as shared:
        yield shared


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/health/", "/%2e%2e/health", "/%2e%2e/etc/passwd", "/docs/../x"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_unknown_paths_are_404_in_our_words(client, path, method):
    answer = client.request(method, path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "no_path"
    assert answer.json()["message"] == answer.json()["detail"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_405_and_name_those_there_are(client, path, method):
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"].split(", ")
    assert answer.json()["error"]["code"] == "method_not_allowed"


def test_head_of_what_has_no_head_is_405_without_a_body(client):
    answer = client.head("/metrics")
    assert (answer.status_code, answer.content) == (405, b"")


def test_all_methods_of_a_path_are_named(client):
    assert client.get("/probe").headers["allow"] == "DELETE, POST"


def test_an_exception_outside_of_handling_is_500_in_our_words(start, connect, caplog):
    server = start()

    async def broken(request):
        raise RuntimeError("/srv/secret")

    server.app.add_route("/broken", broken)
    answer = connect(server).get("/broken", headers={"x-request-id": "r9"})
    assert answer.status_code == 500
    assert answer.json()["message"] == "internal error (request r9)"
    assert "request r9 failed" in caplog.text
    assert "Traceback" in caplog.text


def test_parameters_that_the_framework_refuses_are_400_in_our_words(start, connect):
    server = start()

    async def endpoint(top: int) -> dict[str, int]:
        return {"top": top}

    server.app.add_api_route("/typed", endpoint)
    client = connect(server)
    assert client.get("/typed?top=3").json() == {"top": 3}
    answer = client.get("/typed?top=x")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "top"


def test_the_request_scope_is_the_outermost_layer(start):
    assert start(api_keys=("k",)).app.user_middleware[0].cls is RequestScope


class TestOtherSites:
    def test_are_not_let_in(self, client):
        answer = client.options("/probe", headers=PREFLIGHT)
        assert answer.status_code == 405
        assert "access-control-allow-origin" not in answer.headers
        answer = client.get("/health", headers={"origin": "https://page.example"})
        assert "access-control-allow-origin" not in answer.headers

    def test_are_let_in_where_they_are_named(self, start, connect):
        server = start(cors_origins=("https://page.example",), api_keys=("k",))
        client = connect(server)
        answer = client.options("/probe", headers=PREFLIGHT)  # browsers show no key here
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        assert "authorization" in answer.headers["access-control-allow-headers"].lower()
        for key, status in (("k", 200), ("wrong", 401)):
            answer = client.post(
                "/probe", json={}, headers={"origin": "https://page.example", "x-api-key": key}
            )
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "https://page.example"
        other = {**PREFLIGHT, "origin": "https://other.example"}
        answer = client.options("/probe", headers=other)
        assert "access-control-allow-origin" not in answer.headers


class TestDocs:
    def test_the_page_needs_nothing_from_elsewhere(self, client):
        page = client.get("/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "://" not in page.text
        assert "<script>" not in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        for name in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "start.js"):
            assert name in page.text
            file = client.get(f"/docs/{name}")
            assert file.status_code == 200
            assert len(file.content) > 100
            assert file.headers["x-content-type-options"] == "nosniff"

    def test_the_page_shows_what_it_can(self, client):
        document = client.get("/openapi.json").json()
        shown = client.get("/docs/openapi.json").json()
        assert document["openapi"].startswith("3.1")
        assert shown["openapi"] == "3.0.3"
        assert shown["paths"].keys() == document["paths"].keys()
        assert '{"type": "null"}' not in json.dumps(shown)

    @pytest.mark.parametrize("name", ["index.html", "..%2f__init__.py", "../__init__.py", ""])
    def test_no_other_file_is_served(self, client, name):
        assert client.get(f"/docs/{name}").status_code == 404

    def test_can_be_left_out(self, start, connect):
        client = connect(start(docs=False))
        for path in ("/docs", "/openapi.json", "/docs/start.js", "/redoc"):
            assert client.get(path).status_code == 404

    def test_behind_a_prefix(self, start, connect):
        client = connect(start(root_path="rerank-api/"))
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/rerank-api"}]
        assert client.get("/rerank-api/health/live").status_code == 200
        assert client.get("/health/live").status_code == 200

    @pytest.mark.parametrize("prefix", ["/probe", "/v1", "/health"])
    def test_behind_a_prefix_with_the_name_of_an_endpoint(self, start, connect, prefix):
        client = connect(start(root_path=prefix))
        for path in ("/probe", "/v1/models", "/health/live"):
            method = "POST" if path == "/probe" else "GET"
            for sent in (path, prefix + path):  # taken off, or not
                answer = client.request(
                    method, sent, json={"query": "a"} if method == "POST" else None
                )
                assert answer.status_code == 200, sent


def test_translation_to_openapi_3_0():
    schema = {
        "properties": {
            "top_n": {
                "anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}],
                "description": "d",
                "examples": [3],
            },
            "object": {"const": "rerank"},
            "inner": {"anyOf": [{"$ref": "#/x"}, {"type": "null"}]},
            "many": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]},
            "type": {"type": ["string", "null"]},
            "other": {"type": "null"},
        },
        "example": {"anyOf": [{"type": "null"}], "const": 1},
    }
    assert as_openapi_3_0({"openapi": "3.1.0", "a": schema})["a"] == {
        "properties": {
            "top_n": {
                "type": "integer",
                "minimum": 0,
                "exclusiveMinimum": True,
                "nullable": True,
                "description": "d",
                "example": 3,
            },
            "object": {"enum": ["rerank"]},
            "inner": {"allOf": [{"$ref": "#/x"}], "nullable": True},
            "many": {"anyOf": [{"type": "string"}, {"type": "integer"}], "nullable": True},
            "pair": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}},
            "type": {"type": "string", "nullable": True},
            "other": {"enum": [None], "nullable": True},
        },
        "example": {"anyOf": [{"type": "null"}], "const": 1},
    }
