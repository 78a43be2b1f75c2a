"""A server whose service takes as long as it is told: python -m tests.server.slow_server.

Arguments: seconds that loading takes, seconds that a call takes, seconds to drain, what fails.
"""

import sys

import typer

from kalm_reranker.errors import InvalidCheckpointError
from kalm_reranker.server import run
from kalm_reranker.server.settings import Limits, ServerSettings
from tests.server.arithmetic import Arithmetic, load_slowly


def main():
    loading_s, call_s, drain_s = map(float, sys.argv[1:4])
    fails = sys.argv[4:]
    load = load_slowly(loading_s, Arithmetic(delay_s=call_s))

    def load_or_fail(settings, listener):
        service = load(settings, listener)
        if "checkpoint" in fails:
            raise InvalidCheckpointError("model.safetensors is cut off.", hint="Fetch it again.")
        if "torch" in fails:
            raise RuntimeError("CUDA driver is gone")
        return service

    settings = ServerSettings(port=0, limits=Limits(drain_timeout_s=drain_s))
    run.serve(settings, load_or_fail, announce=lambda line: typer.echo(line, err=True))


if __name__ == "__main__":
    main()
