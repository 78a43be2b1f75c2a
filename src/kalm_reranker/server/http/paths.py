"""The path that routing looks at."""

from starlette.types import Scope

# Open without an API key: those who watch a server need not be able to use it.
HEALTH_PATHS = frozenset({"/health", "/health/live", "/health/ready", "/ping"})


def route_path(scope: Scope) -> str:
    """Returns the path without the prefix of a reverse proxy that does not strip it.

    Exactly as the router takes it off: another opinion here would open guarded paths.
    """
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    if prefix and path.startswith(prefix) and path[len(prefix) :][:1] in ("", "/"):
        return path[len(prefix) :]
    return path
