"""`kalm-vllm-serve`: `kalm serve` under the name and flags of the reference's vLLM adapter."""

import os
from pathlib import Path
from typing import Annotated

import typer

from kalm_reranker.cli.api_keys import VARIABLE, read_api_keys
from kalm_reranker.cli.running import run_app
from kalm_reranker.cli.serve import run
from kalm_reranker.cli.vllm_command import (
    DEFAULT_CHUNK_SIZE,
    DEFAULT_DOCUMENT_MAX_LENGTH,
    DEFAULT_MODEL,
    DEFAULT_QUERY_MAX_LENGTH,
    AdapterDeviceOption,
    AdapterDtypeOption,
    AdapterModelOption,
    ChunkSizeOption,
    DocumentMaxLengthOption,
    QueryMaxLengthOption,
    check_chunk_size,
    naming_the_offline_model,
    new_app,
    note_plugin_variable,
)
from kalm_reranker.errors import InvalidOptionError

_DEFAULT_MAX_MODEL_LEN = 2048
# Of a prompt without its query: the system instruction, a task instruction of up to 60 tokens or
# so, and what stands between them.
_PROMPT_TOKENS = 128

app = new_app()


@app.command()
def serve(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 8000,
    model: AdapterModelOption = DEFAULT_MODEL,
    query_max_length: QueryMaxLengthOption = DEFAULT_QUERY_MAX_LENGTH,
    document_max_length: DocumentMaxLengthOption = DEFAULT_DOCUMENT_MAX_LENGTH,
    encoder_chunk_size: ChunkSizeOption = DEFAULT_CHUNK_SIZE,
    max_model_len: Annotated[
        int,
        typer.Option(
            "--max-model-len",
            min=1,
            help=f"Checked only: query, document and {_PROMPT_TOKENS} tokens for the prompt must "
            "fit. This engine reads query and document apart.",
        ),
    ] = _DEFAULT_MAX_MODEL_LEN,
    device: AdapterDeviceOption = None,
    dtype: AdapterDtypeOption = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            "--api-key-file",
            metavar="FILE",
            help=f"Keys of which requests must show one, one a line; {VARIABLE} has more.",
        ),
    ] = None,
) -> None:
    """Serve /rerank and /score over HTTP.

    The command of the reference's vLLM adapter. This package's own engine runs, not vLLM:
    VLLM_PLUGINS is ignored. `kalm serve` is the same server with all of its settings.
    """
    chunk_size = check_chunk_size(encoder_chunk_size)
    _check_max_model_len(max_model_len, query_max_length, document_max_length)
    note_plugin_variable()
    api_keys = read_api_keys(os.environ.get(VARIABLE), api_key_file)

    # Here, because the tokenizer's library comes with it.
    from kalm_reranker.server.settings import ModelSettings, ServerSettings

    settings = ServerSettings(
        model=ModelSettings(
            model=model,
            query_max_length=query_max_length,
            max_length=document_max_length,
            compression_ratio=chunk_size,
            device=device,
            dtype=dtype,
        ),
        host=host,
        port=port,
        api_keys=api_keys,
    )
    with naming_the_offline_model(model):
        run(settings)


def _check_max_model_len(
    max_model_len: int, query_max_length: int, document_max_length: int
) -> None:
    needed = query_max_length + document_max_length + _PROMPT_TOKENS
    if needed > max_model_len:
        raise InvalidOptionError(
            f"--max-model-len must be at least {needed}: {query_max_length} tokens of a query, "
            f"{document_max_length} of a document and {_PROMPT_TOKENS} for the prompt; "
            f"got {max_model_len}.",
            hint="Raise it, or lower --query-max-length or --document-max-length.",
        )


def main() -> None:
    """Runs the command line."""
    run_app(app, "kalm-vllm-serve")
