"""Starts the servers, says which clients are tested, and writes down what became of each."""

import importlib.metadata
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# None of the clients is to call home, or to look for models or prices.
os.environ.update(
    HAYSTACK_TELEMETRY_ENABLED="False",
    HF_HUB_OFFLINE="1",
    LANGSMITH_TRACING="false",
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    NO_PROXY="127.0.0.1",
)

from tests_contract import plain
from tests_contract.client import Client, clients_of
from tests_contract.environments import MODULES
from tests_contract.examples import HONEY
from tests_contract.serving import Server, serving

KEYS = ("contract-key-one", "contract-key-two")
_ENVIRONMENT = os.environ.get("KALM_CONTRACT_ENVIRONMENT", "")
_KALM = Path(os.environ.get("KALM_CONTRACT_KALM", ".venv/bin/kalm")).absolute()
_PORT = int(os.environ.get("KALM_CONTRACT_PORT", "0"))
_CHECKS = pytest.StashKey[dict[str, dict[str, str]]]()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server with keys."""
    with serving(_KALM, KEYS, port=_PORT) as running:
        yield running


@pytest.fixture(scope="session")
def narrow_server() -> Iterator[Server]:
    """A server that takes on one request at a time."""
    with serving(_KALM, KEYS, "--max-pending-requests", "1") as running:
        yield running


@pytest.fixture(scope="session")
def stocked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with an index that holds the honey example, each text under its number."""
    folder = tmp_path_factory.mktemp("stocked") / "index"
    subprocess.run([_KALM, "index", "create", folder], check=True)
    with serving(_KALM, KEYS, "--index", str(folder)) as running:
        passages = [{"id": str(index), "text": text} for index, text in enumerate(HONEY.documents)]
        answer = plain.request(f"{running.url}/v1/passages", running.key, {"passages": passages})
        assert answer[0] == 200, answer
        yield running


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leaves out what is particular to clients of another environment."""
    if collection_path.parent.name != "particulars" or not collection_path.stem.startswith("test_"):
        return None
    modules = MODULES.get(_ENVIRONMENT, ())
    return True if collection_path.stem.removeprefix("test_") not in modules else None


def pytest_configure(config: pytest.Config) -> None:
    """Checks that there is something to test with."""
    if _ENVIRONMENT not in MODULES:
        raise pytest.UsageError(
            f"KALM_CONTRACT_ENVIRONMENT must be one of {', '.join(MODULES)}; got "
            f"{_ENVIRONMENT!r}. scripts/test-clients sets it."
        )
    config.stash[_CHECKS] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test that takes `client` with each one that it applies to."""
    if "client" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("only")
        wanted = None if marker is None else marker.args[0]
        clients = [
            client
            for client in clients_of(MODULES[_ENVIRONMENT])
            if wanted is None or getattr(client, wanted)
        ]
        metafunc.parametrize("client", clients, ids=[client.name for client in clients])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Notes the outcome of a test of a client."""
    report: pytest.TestReport = yield
    client = getattr(item, "callspec", None) and item.callspec.params.get("client")  # type: ignore[attr-defined]
    if client and (report.when == "call" or report.failed):
        checks = item.config.stash[_CHECKS].setdefault(client.name, {})
        name = item.originalname.removeprefix("test_")  # type: ignore[attr-defined]
        if checks.get(name) != "failed":
            checks[name] = report.outcome
    return report  # type: ignore[return-value]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes outcomes where `table.py` reads them."""
    folder = os.environ.get("KALM_CONTRACT_RESULTS")
    if folder is None:
        return
    checks = session.config.stash[_CHECKS]
    rows = [
        _row(client, checks.get(client.name, {})) for client in clients_of(MODULES[_ENVIRONMENT])
    ]
    path = Path(folder) / f"{_ENVIRONMENT}.json"
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _row(client: Client, checks: dict[str, str]) -> dict[str, Any]:
    version = None if client.package is None else importlib.metadata.version(client.package)
    return {
        "name": client.name,
        "package": client.package,
        "version": version,
        "path": client.path,
        "imports": client.imports,
        "setup": client.setup,
        "call": client.call,
        "settings": client.settings,
        "note": client.note,
        "raises": {
            "wrong_key": _names(client.unauthorized),
            "overloaded": _names(client.overloaded),
        },
        "checks": checks,
    }


def _names(errors: tuple[type[Exception], ...]) -> str:
    return ", ".join(error.__name__ for error in errors)
