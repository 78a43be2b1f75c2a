"""Endpoints, a router for each group."""

from fastapi import APIRouter

from kalm_reranker.server.routes import metrics, models, passages, rerank, score, search
from kalm_reranker.server.settings import ServerSettings


def routers(settings: ServerSettings) -> list[APIRouter]:
    """Returns all routers but that of the health probes.

    Args:
        settings: Of the server; its limits are in the OpenAPI document.
    """
    of_settings = (rerank, score, passages, search, models)
    return [*(module.make_router(settings) for module in of_settings), metrics.router]
