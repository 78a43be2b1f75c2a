"""Requests without a client: bytes out, JSON back. Standard library only."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any


def request(
    url: str, key: str | None, body: object = None, *, method: str | None = None
) -> tuple[int, Any]:
    """Sends a request, with `body` as JSON if there is one.

    Returns:
        Status, and what the answer's JSON says; its text where it is none.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {} if data is None else {"Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    message = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(message, timeout=60) as answer:
            status, content = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, content = error.code, error.read()
    try:
        return status, json.loads(content)
    except ValueError:
        return status, content.decode()


def scores(url: str, key: str, query: str, documents: Sequence[str]) -> list[float]:
    """Returns the scores of documents, in their order, by a plain `POST /rerank`."""
    status, answer = request(
        f"{url}/rerank", key, {"model": "pico", "query": query, "documents": list(documents)}
    )
    assert status == 200, answer
    by_index = {item["index"]: item["relevance_score"] for item in answer["results"]}
    return [by_index[index] for index in range(len(documents))]
