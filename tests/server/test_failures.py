"""What clients are told of errors, and what they never are."""

import json
import logging

import pytest

from kalm_reranker import errors
from kalm_reranker.server.failures import (
    always_standard,
    failure_of,
    failure_response,
    log_failure,
    tei_if_texts,
)
from kalm_reranker.server.request_errors import (
    InvalidRequestError,
    ReadOnlyError,
    RefusedRequestError,
    UnknownModelError,
)

SECRET = "/srv/private/index.sqlite3"
TOLD = [
    (InvalidRequestError("query is empty.", param="query"), 400, "query is empty."),
    (errors.InvalidTextError("a text."), 400, "a text."),
    (errors.InvalidRatioError("a ratio."), 400, "a ratio."),
    (UnknownModelError("gpt", ["pico"]), 404, "'gpt' is not served here; served: pico"),
    (ReadOnlyError(), 403, "read-only"),
    (errors.UnknownPassageError("no passage 'a'."), 404, "no passage 'a'."),
    (errors.NoIndexError("no index."), 404, "no index."),
    (errors.RequestTooLargeError("9 documents."), 413, "9 documents."),
    (errors.OverloadedError("full.", retry_after_s=1.2), 429, "full."),
    (errors.NotReadyError("loading."), 503, "loading."),
    (errors.StoreBusyError(f"{SECRET} is locked"), 503, "being written to"),
    (errors.DeadlineExceededError("too late."), 504, "too late."),
    (RefusedRequestError("teapot.", status=418, code="teapot"), 418, "teapot."),
]
HIDDEN = [
    errors.DamagedStoreError(f"{SECRET}: bad checksum"),
    errors.StoreWriteError(f"{SECRET}: disk full"),
    errors.InvalidCheckpointError(f"{SECRET}: no config"),
    errors.NonFiniteScoreError("NaN at layer 3"),
    errors.OutOfMemoryError("1 GB"),
    errors.EngineError(SECRET),
    FileNotFoundError(2, "No such file", SECRET),
    KeyError(SECRET),
    RuntimeError(SECRET),
    MemoryError(),
]


def body_of(error, **options):
    response = failure_response(failure_of(error), **options)
    return response, json.loads(response.body)


@pytest.mark.parametrize(("error", "status", "message"), TOLD)
def test_what_clients_are_told(error, status, message):
    response, body = body_of(error)
    assert response.status_code == status
    assert message in body["message"]
    assert body["message"] == body["detail"] == body["error"]["message"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert SECRET not in response.body.decode()


@pytest.mark.parametrize("error", HIDDEN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("shape", ["standard", "tei"])
def test_what_clients_are_not_told(error, shape, caplog):
    failure = failure_of(error)
    response = failure_response(failure, shape=shape, request_id="r1")
    assert response.status_code == 500
    assert b"internal error (request r1)" in response.body
    assert SECRET not in response.body.decode()
    with caplog.at_level(logging.ERROR):
        log_failure(failure, error, "r1")
    assert "r1" in caplog.text
    assert str(error) in caplog.text  # whoever runs the server is told


def test_bodies_of_tei():
    response, body = body_of(InvalidRequestError("query is empty."), shape="tei")
    assert (response.status_code, body) == (
        422,
        {"error": "query is empty.", "error_type": "validation"},
    )
    response, body = body_of(errors.OverloadedError("full.", retry_after_s=7), shape="tei")
    assert (response.status_code, body["error_type"]) == (429, "overloaded")
    assert response.headers["retry-after"] == "7"
    assert body_of(errors.NotReadyError("no."), shape="tei")[1]["error_type"] == "unhealthy"


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.2, "2"), (59.5, "60"), (600.0, "60")]
)
def test_retry_after_is_whole_seconds_from_1_to_60(seconds, header):
    response, _ = body_of(errors.OverloadedError("full.", retry_after_s=seconds))
    assert response.headers["retry-after"] == header


def test_place_and_hint_are_told():
    _, body = body_of(
        InvalidRequestError("top_n must be 0 or more; got -1.", hint="0 is all.", param="top_n")
    )
    assert body["error"]["param"] == "top_n"
    assert body["message"] == "top_n must be 0 or more; got -1. 0 is all."
    assert body["error"]["type"] == "invalid_request_error"


def test_messages_that_no_encoding_holds_still_arrive():
    _, body = body_of(InvalidRequestError("bad \ud800."))
    assert body["message"] == "bad ?."


def test_shapes():
    assert tei_if_texts({"texts": []}) == "tei"
    assert tei_if_texts({"documents": []}) == "standard"
    assert always_standard({"texts": []}) == "standard"
