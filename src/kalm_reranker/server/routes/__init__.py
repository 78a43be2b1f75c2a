"""Endpoints, a router for each group."""

from importlib import import_module
from importlib.util import find_spec

from fastapi import APIRouter

from kalm_reranker.server.routes import metrics
from kalm_reranker.server.settings import ServerSettings

_GROUPS = ("rerank", "score", "passages", "search", "models")


def routers(settings: ServerSettings) -> list[APIRouter]:
    """Returns all routers but that of the health probes.

    Args:
        settings: Of the server; its limits are in the OpenAPI document.
    """
    names = [f"{__name__}.{group}" for group in _GROUPS]
    found = [import_module(name) for name in names if find_spec(name) is not None]
    return [*(module.make_router(settings) for module in found), metrics.router]
