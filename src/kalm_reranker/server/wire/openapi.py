"""What the API's documentation says of requests, which FastAPI does not parse itself."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel


def json_body(
    schema: Mapping[str, Any], examples: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns what FastAPI is to say of an operation's body, which it does not parse itself."""
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


def same_body(path: str) -> dict[str, Any]:
    """Returns what FastAPI is to say of the body of an operation that is another one's alias."""
    escaped = path.replace("~", "~0").replace("/", "~1")
    return {"requestBody": {"$ref": f"#/paths/{escaped}/post/requestBody"}}


def parameter(
    name: str,
    schema: Mapping[str, Any],
    *,
    where: Literal["path", "query"],
    required: bool = True,
    description: str = "",
) -> dict[str, Any]:
    """Returns what FastAPI is to say of a parameter, which it does not parse itself."""
    return {
        "name": name,
        "in": where,
        "required": required,
        "description": description,
        "schema": schema,
    }


def schema_of(
    model: type[BaseModel],
    *,
    most_items: Mapping[str, int] | None = None,
    most: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Returns the JSON Schema of a request as this server takes it.

    Args:
        model: The request.
        most_items: Largest number of elements of fields that are lists.
        most: Largest value of fields that are numbers.
    """
    schema = model.model_json_schema()
    for name, limit in (most_items or {}).items():
        for part in _parts(schema["properties"][name]):
            if part.get("type") == "array":
                part["maxItems"] = limit
    for name, limit in (most or {}).items():
        for part in _parts(schema["properties"][name]):
            if part.get("type") == "integer":
                part["maximum"] = limit
    return schema


def exactly(
    schema: Mapping[str, Any], given: Iterable[str], among: Iterable[str]
) -> dict[str, Any]:
    """Returns a schema in which, of some fields, just the ones `given` are there."""
    needed = tuple(given)
    kept = {
        name: _without_null(value) if name in needed else {"type": "null"}
        for name, value in schema["properties"].items()
        if name in needed or name in among
    }
    return {
        **schema,
        "title": " and ".join(needed),
        "required": [*schema.get("required", ()), *needed],
        "properties": {**schema["properties"], **kept},
    }


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    parts = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    named = {name: value for name, value in schema.items() if name != "default"}
    return {**named, "anyOf": parts} if parts else named


def _parts(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [schema, *schema.get("anyOf", ())]
