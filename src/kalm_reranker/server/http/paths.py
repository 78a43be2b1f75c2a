"""The path that routing looks at."""

from starlette.routing import Match
from starlette.types import Scope

# Open without an API key: those who watch a server need not be able to use it.
HEALTH_PATHS = frozenset({"/health", "/health/live", "/health/ready", "/ping"})


def route_path(scope: Scope) -> str:
    """Returns the path without the prefix of a reverse proxy that does not strip it.

    Exactly as the router takes it off: another opinion here would open guarded paths.
    """
    path: str = scope["path"]
    return path[len(scope["root_path"]) :] if has_prefix(scope) else path


def has_prefix(scope: Scope) -> bool:
    """Returns whether a path begins with the prefix of a reverse proxy."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    return bool(prefix) and path.startswith(prefix) and path[len(prefix) :][:1] in ("", "/")


def is_route(scope: Scope) -> bool:
    """Returns whether the app has an endpoint at a request's path, for whatever method."""
    return any(route.matches(scope)[0] is not Match.NONE for route in scope["app"].routes)
