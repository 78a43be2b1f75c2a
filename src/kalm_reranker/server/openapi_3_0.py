"""OpenAPI 3.1 -> 3.0, for the page: the Swagger UI that is packaged for Python shows no 3.1.

Only what FastAPI and pydantic write is translated; `/openapi.json` stays 3.1.
"""

from typing import Any

from kalm_reranker.server.json_body import JsonValue

_NULL = {"enum": [None], "nullable": True}  # 3.0 has no type for it
_BOUNDS = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}


def as_openapi_3_0(document: dict[str, Any]) -> dict[str, Any]:
    """Returns a copy of an OpenAPI document that says the same in version 3.0."""
    translated: dict[str, Any] = _translate(document)
    translated["openapi"] = "3.0.3"
    return translated


def _translate(node: JsonValue) -> Any:  # noqa: ANN401  # of the same kind as `node`
    if isinstance(node, list):
        return [_translate(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {}
    for key, value in node.items():
        # Examples, defaults and enumerations are data, however much they look like schemas.
        result[key] = value if key in ("example", "default", "enum", "value") else _translate(value)
    return _translate_schema(result)


def _translate_schema(node: dict[str, Any]) -> dict[str, Any]:
    if node.get("type") == "null":
        node = {**{key: value for key, value in node.items() if key != "type"}, **_NULL}
    if isinstance(node.get("anyOf"), list):
        node = _nullable_union(node)
    if isinstance(node.get("type"), list):
        kinds = [kind for kind in node["type"] if kind != "null"]
        node = {**node, "type": kinds[0] if kinds else "string"}
        if len(kinds) < 2:
            node["nullable"] = True
    if "const" in node and not isinstance(node["const"], dict):
        node = {**node, "enum": [node["const"]]}
        del node["const"]
    if isinstance(node.get("prefixItems"), list):
        node = {**node, "items": {"anyOf": node["prefixItems"]}}
        del node["prefixItems"]
    if isinstance(node.get("examples"), list):  # of a schema; those of a body have names
        node = {**node, "example": node["examples"][0]} if node["examples"] else {**node}
        del node["examples"]
    for exclusive, bound in _BOUNDS.items():
        if isinstance(node.get(exclusive), int | float) and not isinstance(node[exclusive], bool):
            node = {**node, bound: node[exclusive], exclusive: True}
    return node


def _nullable_union(node: dict[str, Any]) -> dict[str, Any]:
    options = [option for option in node["anyOf"] if option != _NULL]
    if len(options) == len(node["anyOf"]):
        return node
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    if len(options) != 1:
        return {**rest, "anyOf": options, "nullable": True}
    if "$ref" in options[0]:  # 3.0 ignores what stands beside a reference
        return {**rest, "allOf": options, "nullable": True}
    return {**options[0], **rest, "nullable": True}
