"""What the parts of one app share, by name: kept in `app.state`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from starlette.applications import Starlette

from kalm_reranker.server.admission import Admission
from kalm_reranker.server.lifecycle import Lifecycle
from kalm_reranker.server.settings import ServerSettings

if TYPE_CHECKING:
    from kalm_reranker.server.metrics import ServerMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """What `build_app` puts into `app.state`, each under its own name, and as a whole as `shared`.

    Attributes:
        settings: The server's settings.
        lifecycle: State and model.
        admission: Requests between acceptance and answer.
        metrics: What `/metrics` shows.
    """

    settings: ServerSettings
    lifecycle: Lifecycle
    admission: Admission
    metrics: "ServerMetrics"


def state_of(app: Starlette) -> AppState:
    """Returns what the parts of an app that `build_app` made share."""
    return cast(AppState, app.state.shared)
