"""Has schemathesis try to break a server by its own OpenAPI document; status 0 if it could not.

usage: python -m tests_contract.openapi [--kalm PATH] [--port PORT] [--explore] [OPTION]...

Options are schemathesis' own. A run tries the same cases each time, so that it fails for what
changed and not by luck; with --explore it tries others.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests_contract import plain
from tests_contract.serving import Server, serving

_CONFIG = Path(__file__).parent / "schemathesis.toml"
_KEYS = ("openapi-key-one", "openapi-key-two")
_PHASES = "examples,coverage,fuzzing,stateful"
_MAX_EXAMPLES = 150
"""Cases of an operation in the fuzzing phase: two to three minutes in all on two cores."""
_TIMEOUT_S = 30
_LIMITS = ("--max-documents", "20", "--max-results", "20")
"""What lies just below and above a limit is tried many times, and 1,000 documents take seconds."""
_PASSAGES = {
    "beijing": "The capital of China is Beijing.",
    "gravity": "Gravity is a force that attracts two bodies towards each other.",
    "honey": "Bees collect nectar from flowers and turn it into honey in their hives.",
}
"""In the index before it begins, so that documents by id and searches have something to find."""


def main() -> int:
    """Runs the command and returns its status."""
    parser = argparse.ArgumentParser(prog="python -m tests_contract.openapi")
    parser.add_argument("--kalm", type=Path, default=Path(".venv/bin/kalm"))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--explore", action="store_true")
    arguments, more = parser.parse_known_args()
    if not arguments.explore:
        more.append("--generation-deterministic")
    kalm = arguments.kalm.absolute()
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        subprocess.run([kalm, "index", "create", index, "--compression-ratio", "1"], check=True)
        with serving(kalm, _KEYS, "--index", str(index), *_LIMITS, port=arguments.port) as server:
            _add_passages(server)
            status = _schemathesis(server, Path(folder), more)
            # Whatever it was sent, it must still answer, and rightly.
            answer = plain.request(
                f"{server.url}/rerank",
                server.key,
                {"query": "What is the capital of China?", "documents": list(_PASSAGES.values())},
            )
    if answer[0] != 200 or answer[1]["results"][0]["index"] != 0:
        print(f"openapi: the server no longer answers as it should: {answer}")
        return 1
    return status


def _add_passages(server: Server) -> None:
    passages = [{"id": name, "text": text} for name, text in _PASSAGES.items()]
    answer = plain.request(f"{server.url}/v1/passages", server.key, {"passages": passages})
    assert answer[0] == 200, answer


def _schemathesis(server: Server, folder: Path, more: list[str]) -> int:
    # From a file, since schemathesis would send no key when it asks for the document.
    status, document = plain.request(f"{server.url}/openapi.json", server.key)
    assert status == 200, document
    path = folder / "openapi.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIG)),
        *("run", str(path)),
        *("--url", server.url),
        *("--header", f"Authorization: Bearer {server.key}"),
        *("--checks", "all"),
        *("--phases", _PHASES),
        *("--max-examples", str(_MAX_EXAMPLES)),
        *("--request-timeout", str(_TIMEOUT_S)),
        *("--workers", "2"),
        "--continue-on-failure",
        *more,
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests_contract.openapi_hooks"}
    return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
