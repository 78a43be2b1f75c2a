"""`kalm-vllm-client`: ask a server for its health, or send it a request from a file."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kalm_reranker.cli.api_keys import read_api_keys
from kalm_reranker.cli.output import print_json
from kalm_reranker.cli.running import run_app
from kalm_reranker.cli.vllm_command import new_app, read_request

_EXIT_NOT_READY = 1

app = new_app()


class Endpoint(StrEnum):
    """What a server does with a request."""

    RERANK = "rerank"
    SCORE = "score"


@app.command()
def client(
    base_url: Annotated[
        str, typer.Option("--base-url", help="The server's root, without /v1.")
    ] = "http://127.0.0.1:8000",
    health: Annotated[
        bool, typer.Option("--health", help="Print how the server is; exit 1 if it is not ready.")
    ] = False,
    endpoint: Annotated[
        Endpoint,
        typer.Option(
            "--endpoint",
            help="rerank: one query, many documents, sorted. score: pairs, in their order.",
        ),
    ] = Endpoint.RERANK,
    json_file: Annotated[
        Path | None,
        typer.Option("--json-file", help="The request's body; - for standard input."),
    ] = None,
    return_margin: Annotated[
        bool,
        typer.Option("--return-margin", help="Ask for yes logit - no logit beside each score."),
    ] = False,
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, help="Ask for the best only (rerank).")
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            "--api-key-file",
            help="The server's API key, on the first line. (default: KALM_API_KEY)",
        ),
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="For the answer, tries included.")
    ] = 300.0,
) -> None:
    """Ask a server that `kalm serve` or `kalm-vllm-serve` started; prints its JSON.

    [dim]kalm-vllm-client --health[/dim]

    [dim]kalm-vllm-client --endpoint rerank --json-file rerank_request.json --top-k 10[/dim]
    """
    if health == (json_file is not None):
        raise typer.BadParameter("give either --health or --json-file.")
    if top_k is not None and endpoint is Endpoint.SCORE:
        raise typer.BadParameter("pairs are scored, not ranked: leave --top-k out, or rerank.")

    from kalm_reranker.client import KaLMClient  # here, because it needs httpx

    api_key = None if api_key_file is None else read_api_keys(None, api_key_file)[0]
    with KaLMClient(base_url, api_key=api_key, timeout_s=timeout_s) as server:
        if json_file is None:
            found = server.health()
            print_json(found.details, indent=2)
            raise typer.Exit(0 if found.ready else _EXIT_NOT_READY)
        body = read_request(json_file)
        if return_margin:
            body["return_margin"] = True
        if top_k is not None:
            body.pop("top_n", None)  # the same under another name
            body["top_k"] = top_k
        print_json(server.request("POST", f"/{endpoint}", body), indent=2)


def main() -> None:
    """Runs the command line."""
    run_app(app, "kalm-vllm-client")
