"""`kalm-vllm-rerank`: rank documents in this process, without a server."""

from pathlib import Path
from typing import Annotated, Any

import typer

from kalm_reranker.cli.output import print_json
from kalm_reranker.cli.running import run_app
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
    read_request,
)
from kalm_reranker.errors import DataFileError, shown

# The adapter's own example.
_QUERY = "What is the capital of China?"
_DOCUMENTS = (
    "The capital of China is Beijing.",
    "Gravity attracts bodies toward one another.",
)
_REQUEST_FIELDS = ("query", "documents", "instruction", "top_k", "return_margin")

app = new_app()


@app.command()
def rerank(
    model: AdapterModelOption = DEFAULT_MODEL,
    query: Annotated[
        str | None, typer.Option("--query", help="The query. (default: the example's)")
    ] = None,
    document: Annotated[
        list[str] | None,
        typer.Option("--document", help="A document; give several. (default: the example's two)"),
    ] = None,
    instruction: Annotated[
        str | None,
        typer.Option("--instruction", help="Task instruction. (default: the checkpoint's own)"),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json-file",
            help="A request as /rerank takes it, for query and documents; - for standard input.",
        ),
    ] = None,
    return_margin: Annotated[
        bool, typer.Option("--return-margin", help="Also print yes logit - no logit.")
    ] = False,
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, help="Print the best only.")
    ] = None,
    query_max_length: QueryMaxLengthOption = DEFAULT_QUERY_MAX_LENGTH,
    document_max_length: DocumentMaxLengthOption = DEFAULT_DOCUMENT_MAX_LENGTH,
    encoder_chunk_size: ChunkSizeOption = DEFAULT_CHUNK_SIZE,
    device: AdapterDeviceOption = None,
    dtype: AdapterDtypeOption = None,
) -> None:
    """Sort documents by how well they answer a query; prints JSON.

    The command of the reference's vLLM adapter. This package's own engine runs, not vLLM:
    VLLM_PLUGINS is ignored. `kalm rerank` can do more.
    """
    if json_file is not None and (query is not None or document):
        raise typer.BadParameter("give either --json-file or --query and --document.")
    chunk_size = check_chunk_size(encoder_chunk_size)
    note_plugin_variable()
    asked: dict[str, Any] = {} if json_file is None else _checked(read_request(json_file))

    from kalm_reranker.reranker import KaLMReranker  # here, because it imports torch

    with naming_the_offline_model(model):
        reranker = KaLMReranker(
            model,
            device=device,
            dtype=dtype,
            query_max_length=query_max_length,
            max_length=document_max_length,
            chunk_size=chunk_size,
        )
    ranked = reranker.rank(
        asked.get("query") or query or _QUERY,
        asked.get("documents") or document or list(_DOCUMENTS),
        instruction or asked.get("instruction"),
        top_k=top_k or asked.get("top_k"),
        return_margin=return_margin or asked.get("return_margin") is True,
    )
    results = [
        {"index": item.pop("corpus_id"), **item}  # type: ignore[misc]  # it is a new dictionary
        for item in ranked
    ]
    print_json({"object": "rerank", "model": model, "results": results}, indent=2)


def _checked(request: dict[str, Any]) -> dict[str, Any]:
    """Returns a request that can be ranked here.

    Raises:
        DataFileError: It asks for something else.
    """
    for name in request:
        if name not in _REQUEST_FIELDS:
            raise DataFileError(
                f"The request's field {name!r} has no meaning here; allowed: "
                f"{', '.join(_REQUEST_FIELDS)}.",
                hint="kalm-vllm-client sends a request with any field to a server.",
            )
    for name, kind in (("query", str), ("documents", list)):
        if not isinstance(request.get(name), kind) or not request[name]:
            raise DataFileError(
                f"The request must have {name!r}, a {kind.__name__} that is not empty; "
                f"got {shown(request.get(name))}."
            )
    return request


def main() -> None:
    """Runs the command line."""
    run_app(app, "kalm-vllm-rerank")
