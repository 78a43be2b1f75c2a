"""The app: endpoints, what guards them, and what they share.

Parts reach what they share by `state.state_of(request.app)`: settings, lifecycle, admission,
metrics. `app.state` also has each under its own name. A request's own state: `request_id`;
`documents` and `failure_code` once they are known.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Match

from kalm_reranker import __version__
from kalm_reranker.errors import KalmRerankerError
from kalm_reranker.server.admission import Admission
from kalm_reranker.server.docs_page import add_docs
from kalm_reranker.server.failures import failure_of, failure_response, log_failure
from kalm_reranker.server.http.allowed_hosts import AllowedHosts, hosts_to_answer
from kalm_reranker.server.http.api_keys import ApiKeys, KnownKeys
from kalm_reranker.server.http.request_scope import RequestScope
from kalm_reranker.server.lifecycle import Lifecycle
from kalm_reranker.server.metrics import ServerMetrics
from kalm_reranker.server.request_errors import InvalidRequestError, RefusedRequestError
from kalm_reranker.server.routes import health, routers
from kalm_reranker.server.settings import ServerSettings
from kalm_reranker.server.state import AppState

_DESCRIPTION = (
    "Reranks with KaLM-Reranker-V1, in the shapes that clients of Cohere, Jina, Voyage, "
    "text-embeddings-inference, vLLM and KaLM speak; scores stored passages by id."
)


def build_app(settings: ServerSettings, lifecycle: Lifecycle) -> FastAPI:
    """Returns an app; it begins to load its model when it is started.

    Args:
        settings: Of the server.
        lifecycle: Of the server; `Lifecycle.ready(settings, service)` for a model that is loaded.
    """
    admission = Admission(settings.limits)
    numbers = ServerMetrics(limits=settings.limits)
    shared = AppState(settings=settings, lifecycle=lifecycle, admission=admission, metrics=numbers)
    numbers.watch_pending(lambda: (admission.requests, admission.bytes))
    numbers.watch_state(lambda: lifecycle.state)
    lifecycle.when_ready(numbers.watch_service)

    app = FastAPI(
        title="kalm-reranker",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        middleware=_middleware(shared),
        lifespan=_lifespan,
        exception_handlers={
            HTTPException: _answer_http_exception,
            RequestValidationError: _answer_validation_error,
            KalmRerankerError: _answer_error,
        },
    )
    app.state.shared = shared
    app.state.settings = settings
    app.state.lifecycle = lifecycle
    app.state.admission = admission
    app.state.metrics = numbers
    # Said in the OpenAPI document; what enforces it is the middleware, for unknown paths as well.
    keys = [Depends(HTTPBearer(auto_error=False))] if settings.api_keys else []
    for router in routers(settings):
        app.include_router(router, dependencies=keys)
    app.include_router(health.router)
    if settings.docs:
        add_docs(app)
    return app


def _middleware(shared: AppState) -> list[Middleware]:
    """From the outside inwards."""
    settings = shared.settings
    layers = [Middleware(RequestScope, shared=shared)]
    hosts = hosts_to_answer(settings)
    if hosts is not None:
        layers.append(Middleware(AllowedHosts, hosts=hosts))
    if settings.cors_origins:  # outside of the keys: browsers ask first, and without any
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=("GET", "POST", "DELETE"),
                allow_headers=("authorization", "content-type", "x-api-key", "x-request-id"),
                expose_headers=("retry-after", "x-request-id"),
            )
        )
    if settings.api_keys:
        layers.append(Middleware(ApiKeys, keys=KnownKeys(settings.api_keys)))
    return layers


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    lifecycle: Lifecycle = app.state.lifecycle
    lifecycle.start(app.state.metrics)
    try:
        yield
    finally:
        lifecycle.drain()
        await lifecycle.stop()


async def _answer_error(request: Request, error: Exception) -> Response:
    """For errors outside of `handle`."""
    failure = failure_of(error)
    log_failure(failure, error, request.state.request_id)
    request.state.failure_code = failure.code
    return failure_response(failure, request_id=request.state.request_id)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    """For what the router finds: no such path (404), another method (405)."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        refused = RefusedRequestError("there is nothing at this path.", status=404, code="no_path")
    elif error.status_code == 405:
        methods = ", ".join(_methods_of_path(request))
        refused = RefusedRequestError(
            f"the method must be one of: {methods}; got {request.method}.",
            status=405,
            code="method_not_allowed",
            headers={"allow": methods},
        )
    else:
        refused = RefusedRequestError(
            str(error.detail), status=error.status_code, code="refused", headers=error.headers
        )
    return await _answer_error(request, refused)


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    """For parameters in path and query string, which FastAPI checks."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    param = ".".join(str(part) for part in first["loc"][1:]) or None
    message = f"{param}: {first['msg']}." if param else f"{first['msg']}."
    return await _answer_error(request, InvalidRequestError(message, param=param))


def _methods_of_path(request: Request) -> list[str]:
    """All methods of a path, which may have a route for each; asked of the routes themselves."""
    routes = request.app.routes
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "POST", "PUT")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    ]
