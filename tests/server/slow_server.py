"""A server whose service takes as long as it is told: python -m tests.server.slow_server.

Arguments: seconds that loading takes, a file that calls wait for, seconds to drain, what is odd.
"""

import sys
import time
from pathlib import Path

import typer

from kalm_reranker.errors import InvalidCheckpointError
from kalm_reranker.server import run
from kalm_reranker.server.settings import Limits, ServerSettings
from tests.server.arithmetic import Arithmetic, load_slowly


def close_never():
    typer.echo("closing", err=True)
    time.sleep(3600)


def main():
    loading_s, drain_s = float(sys.argv[1]), float(sys.argv[3])
    odd = sys.argv[4:]
    load = load_slowly(loading_s, Arithmetic(gate=Path(sys.argv[2]).exists))

    def load_or_fail(settings, listener):
        service = load(settings, listener)
        if "close" in odd:
            service.close = close_never
        if "checkpoint" in odd:
            raise InvalidCheckpointError("model.safetensors is cut off.", hint="Fetch it again.")
        if "torch" in odd:
            raise RuntimeError("CUDA driver is gone")
        return service

    host = "0.0.0.0" if "public" in odd else "127.0.0.1"
    keys = ("secret",) if "keys" in odd else ()
    settings = ServerSettings(
        host=host, port=0, api_keys=keys, limits=Limits(drain_timeout_s=drain_s)
    )
    run.serve(settings, load_or_fail, announce=lambda line: typer.echo(line, err=True))


if __name__ == "__main__":
    main()
