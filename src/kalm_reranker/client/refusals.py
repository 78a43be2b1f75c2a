"""A server's refusal as an error: from our server, another one, or a proxy in between."""

import json
from http import HTTPStatus
from typing import Any

from kalm_reranker.client.connection import API_KEY_VARIABLE
from kalm_reranker.client.retrying import read_retry_after
from kalm_reranker.client.steps import Call, Reply
from kalm_reranker.errors import ServerRefusedError

_MOST_WORDS = 500  # characters of a message that is shown

# Our server's name for a path that it does not have; others have none.
_NO_SUCH_PATH = (None, "no_path")

_HINTS = {
    401: f"Give the server's API key as api_key, or in the environment as {API_KEY_VARIABLE}.",
    413: "GET /info says how much the server takes; its operator can raise it.",
    429: "Ask again later, or allow more tries (max_retries) or time (timeout_s).",
    500: "The server's log has the cause under the request id.",
    502: "The server behind the proxy does not answer; is it up?",
    503: "Ask again later, or allow more tries (max_retries) or time (timeout_s).",
    504: "Send fewer or shorter documents at once, or ask when the server is less busy.",
}
_NOT_OURS = (
    "base_url must be the root of a `kalm serve`, without /v1; this address does not know the path."
)


def refusal(reply: Reply, call: Call, request_id: str, tries: int) -> ServerRefusedError:
    """Returns the error for an answer that is none.

    Args:
        reply: With any status but 2xx.
        call: What was asked.
        request_id: It was asked under, unless the answer says otherwise.
        tries: How often it was asked.
    """
    words, code = _words_and_code(reply.body)
    named = f"{reply.status} {_phrase(reply.status)}" if code is None else f"{reply.status} {code}"
    request_id = reply.headers.get("x-request-id", request_id)
    wait_s = read_retry_after(reply.headers)
    details = "".join(
        (
            f"request id {request_id}",
            "" if tries == 1 else f", tried {tries} times",
            "" if wait_s is None else f", asks to wait {wait_s:g} s",
        )
    )
    said = f": {words}" if words else "."
    return ServerRefusedError(
        f"The server refused {call} with {named}{said} ({details})",
        hint=_hint(reply, code),
        status=reply.status,
        code=code,
        request_id=request_id,
    )


def _hint(reply: Reply, code: str | None) -> str | None:
    if 300 <= reply.status < 400:
        return f"The address moved: base_url should lead to {reply.headers.get('location')!r}."
    if reply.status in (404, 405) and code in _NO_SUCH_PATH:
        return _NOT_OURS
    return _HINTS.get(reply.status)


def _words_and_code(body: bytes) -> tuple[str, str | None]:
    """Returns a refusal's message, and the server's name for it, from any of the usual shapes."""
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return "", None  # a proxy's page, which says no more than its status
    if not isinstance(said, dict):
        return "", None
    error = said.get("error")
    if isinstance(error, dict):  # OpenAI, vLLM, ours
        words = error.get("message")
        code = error.get("code") or error.get("type")
    else:
        # Text Embeddings Inference; then Cohere; then FastAPI.
        words = error or said.get("message") or said.get("detail")
        code = said.get("error_type")
    words = words if isinstance(words, str) else json.dumps(words) if words else ""
    words = " ".join(words.split())
    return (
        words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}...",
        code if isinstance(code, str) and code else None,
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(no known status)"
