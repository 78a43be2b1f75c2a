"""Endpoints, a router for each group."""

from importlib import import_module
from importlib.util import find_spec

from fastapi import APIRouter

_GROUPS = ("health", "rerank", "score", "passages", "search", "models", "metrics")


def routers() -> list[APIRouter]:
    """Returns the routers of all groups."""
    names = [f"{__name__}.{group}" for group in _GROUPS]
    return [import_module(name).router for name in names if find_spec(name) is not None]
