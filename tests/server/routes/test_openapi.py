"""The OpenAPI document: every route, its body, its examples, its failures."""

import pytest

from kalm_reranker.server.settings import Limits

WITH_BODY = {
    *("/rerank", "/v1/rerank", "/v2/rerank", "/v1/v2/rerank", "/reranking", "/v1/reranking"),
    *("/invocations", "/score", "/v1/score", "/v1/passages", "/v1/search"),
}
WITHOUT = {"/v1/passages/{id}", "/v1/models", "/v1/models/{name}", "/info"}


@pytest.fixture(scope="module")
def document(serve):
    client = serve(limits=Limits(max_documents=17, max_results=19), api_keys=("key",))
    return client.app.openapi()


def resolved(document, reference):
    node = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def body_of(document, path):
    body = document["paths"][path]["post"]["requestBody"]
    return resolved(document, body["$ref"]) if "$ref" in body else body


def operations(document):
    for path in WITH_BODY | WITHOUT:
        yield from document["paths"][path].values()


def test_every_route_is_there_with_words_for_people(document):
    assert set(document["paths"]) >= WITH_BODY | WITHOUT
    names = [operation["operationId"] for operation in operations(document)]
    assert len(set(names)) == len(names)
    for operation in operations(document):
        assert operation["summary"]
        assert operation["description"]
        assert operation["security"] == [{"HTTPBearer": []}]


@pytest.mark.parametrize("path", sorted(WITH_BODY))
def test_bodies_have_schemas_and_examples(document, path):
    body = body_of(document, path)
    assert body["required"]
    content = body["content"]["application/json"]
    assert content["examples"]
    for example in content["examples"].values():
        assert example["summary"]
        # An example has the required fields of one of the shapes.
        shapes = content["schema"].get("anyOf", [content["schema"]])
        assert any(set(shape["required"]) <= set(example["value"]) for shape in shapes)


def test_failures_are_declared_with_their_shapes(document):
    for path in WITH_BODY:
        responses = document["paths"][path]["post"]["responses"]
        wanted = {"200", "400", "401", "403", "404", "408", "413", "415", "429", "500", "503"}
        assert set(responses) >= wanted | {"504"}
        for status, response in responses.items():
            assert response["content"]["application/json"]["schema"], status
    assert "422" in document["paths"]["/rerank"]["post"]["responses"]
    assert "422" not in document["paths"]["/score"]["post"]["responses"]


def test_the_servers_limits_are_in_the_schemas(document):
    shapes = body_of(document, "/rerank")["content"]["application/json"]["schema"]["anyOf"]
    plain, fields, tei = (shape["properties"] for shape in shapes)
    assert plain["documents"]["maxItems"] == fields["documents"]["maxItems"] == 17
    assert tei["texts"]["maxItems"] == 17
    assert tei["texts"]["minItems"] == 1
    search = body_of(document, "/v1/search")["content"]["application/json"]["schema"]
    top_k = search["properties"]["top_k"]["anyOf"][0]
    assert (top_k["minimum"], top_k["maximum"]) == (1, 19)
    query = plain["query"]
    assert query["pattern"] == r"^[^\u0000]*[^\s\u0000][^\u0000]*$"


def test_shapes_of_score_exclude_each_other(document):
    shapes = body_of(document, "/score")["content"]["application/json"]["schema"]["anyOf"]
    assert [tuple(shape["required"]) for shape in shapes] == [
        ("queries", "documents"),
        ("queries", "items"),
        ("text_1", "text_2"),
        ("data_1", "data_2"),
        ("pairs",),
    ]
    for shape in shapes:
        for name in ("queries", "documents", "items", "text_1", "data_2", "pairs"):
            is_null = shape["properties"][name] == {"type": "null"}
            assert is_null != (name in shape["required"])
