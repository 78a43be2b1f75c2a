"""`kalm serve`: answer rerank requests over HTTP."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kalm_reranker.cli.api_keys import VARIABLE, read_api_keys
from kalm_reranker.cli.options import (
    CalibrationOption,
    DeviceOption,
    DtypeOption,
    EngineOption,
    MaxLengthOption,
    QuantizationOption,
    RatioTextOption,
    ratio_from_text,
)
from kalm_reranker.cli.running import show_times_in_log
from kalm_reranker.cli.server_options import (
    BodyTimeoutOption,
    DrainTimeoutOption,
    MaxBodyBytesOption,
    MaxDocumentsOption,
    MaxInstructionTokensOption,
    MaxPendingBytesOption,
    MaxPendingRequestsOption,
    MaxResultsOption,
    RequestTimeoutOption,
    StatesBytesOption,
    TargetStepOption,
    TextCacheBytesOption,
)
from kalm_reranker.extras import import_extra
from kalm_reranker.options import UNSET

if TYPE_CHECKING:
    from kalm_reranker.batching.listener import Listener
    from kalm_reranker.server.answering import Answering
    from kalm_reranker.server.settings import ServerSettings

_ACCESS = "Who may use it"
_SWITCHES = "Switches"  # apart: their second names would leave no room for the others'
_MODULES = ("fastapi", "uvicorn", "prometheus_client", "swagger_ui_bundle")


def serve(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Short name (see `kalm models`), directory, or hub id. (default: the index's own; "
            "pico without an index)",
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index", help="Folder of an index: documents by id, /v1/passages, /v1/search."
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option("--host", help="Address to listen on; 0.0.0.0 for all."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0 for any that is free.")] = 8000,
    served_model_names: Annotated[
        list[str] | None,
        typer.Option(
            "--served-model-name",
            metavar="NAME",
            help="Another name that requests may call the model by; * for any; repeatable.",
        ),
    ] = None,
    compression_ratio: RatioTextOption = None,
    max_length: MaxLengthOption = None,
    query_max_length: Annotated[
        int | None,
        typer.Option(
            "--query-max-length", help="Tokens a query is cut at. (default: the checkpoint's own)"
        ),
    ] = None,
    long_documents: Annotated[
        str | None,
        typer.Option(
            "--long-documents",
            help="Documents above --max-length: truncate, or windows (the best one counts). "
            "(default: the index's own, else truncate)",
        ),
    ] = None,
    calibration: CalibrationOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    engine: EngineOption = "auto",
    quantization: QuantizationOption = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Of the processor. (default: one for each core)"),
    ] = None,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="Score each pair alone: the same bits whatever else is asked.",
            rich_help_panel=_SWITCHES,
        ),
    ] = False,
    special_tokens: Annotated[
        str,
        typer.Option(
            "--special-tokens",
            help="Special-token text in requests is text, or control (only for trusted requests).",
        ),
    ] = "text",
    prefix_cache_bytes: Annotated[
        int | None,
        typer.Option(
            "--prefix-cache-bytes",
            metavar="N",
            help="Kept instruction prefixes. (default: the engine's own)",
        ),
    ] = None,
    hot_bytes: Annotated[
        int,
        typer.Option(
            "--hot-bytes", metavar="N", help="Stored states that an index keeps in memory."
        ),
    ] = 256 * 2**20,
    warm_up: Annotated[
        bool,
        typer.Option(
            "--warm-up/--no-warm-up",
            help="Run made-up requests before the first one.",
            rich_help_panel=_SWITCHES,
        ),
    ] = True,
    max_documents: MaxDocumentsOption = 1_000,
    max_body_bytes: MaxBodyBytesOption = 16 * 2**20,
    max_pending_requests: MaxPendingRequestsOption = 256,
    max_pending_bytes: MaxPendingBytesOption = 256 * 2**20,
    max_instruction_tokens: MaxInstructionTokensOption = 1_024,
    max_results: MaxResultsOption = 1_000,
    request_timeout: RequestTimeoutOption = 300.0,
    body_timeout: BodyTimeoutOption = 30.0,
    drain_timeout: DrainTimeoutOption = 30.0,
    text_cache_bytes: TextCacheBytesOption = 256 * 2**20,
    states_bytes: StatesBytesOption = 1024 * 2**20,
    target_step: TargetStepOption = 0.05,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            "--api-key-file",
            metavar="FILE",
            help=f"Keys of which requests must show one, one a line. {VARIABLE} in the environment "
            "has more, with commas between them.",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            metavar="NAME",
            help="Host header that is answered; * for any; repeatable. (default: names of "
            "this machine while it listens on loopback, else any)",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    cors_origins: Annotated[
        list[str] | None,
        typer.Option(
            "--cors-origin",
            metavar="URL",
            help="Origin whose pages may call the server from a browser; repeatable. "
            "(default: none)",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    read_only: Annotated[
        bool,
        typer.Option(
            "--read-only", help="Neither add nor delete passages.", rich_help_panel=_SWITCHES
        ),
    ] = False,
    docs: Annotated[
        bool,
        typer.Option(
            "--docs/--no-docs", help="Serve /docs and /openapi.json.", rich_help_panel=_SWITCHES
        ),
    ] = True,
    root_path: Annotated[
        str,
        typer.Option(
            "--root-path",
            metavar="PATH",
            help="Prefix that a reverse proxy takes off.",
            rich_help_panel=_ACCESS,
        ),
    ] = "",
    log_requests: Annotated[
        bool,
        typer.Option(
            "--log-requests/--no-log-requests",
            help="A line on stderr for each request.",
            rich_help_panel=_SWITCHES,
        ),
    ] = True,
) -> None:
    """Answer rerank requests over HTTP, in the shapes of the clients there are.

    Cohere, Jina, Voyage, text-embeddings-inference, vLLM and KaLM.

    SIGTERM finishes what was accepted. See docs/serving.md.

    [dim]kalm serve --model nano[/dim]

    [dim]kalm serve --index articles/ --api-key-file keys.txt --host 0.0.0.0[/dim]
    """
    api_keys = read_api_keys(os.environ.get(VARIABLE), api_key_file)

    # Here, because the tokenizer's library comes with it.
    from kalm_reranker.server.settings import Limits, ModelSettings, ServerSettings

    run(
        ServerSettings(
            model=ModelSettings(
                model="pico" if model is None and index is None else model,
                index=index,
                compression_ratio=ratio_from_text(compression_ratio),
                max_length=UNSET if max_length is None else max_length,
                long_documents=long_documents,  # type: ignore[arg-type]  # checked where used
                query_max_length=UNSET if query_max_length is None else query_max_length,
                device=device,
                dtype=dtype,
                engine=engine,  # type: ignore[arg-type]
                quantization=quantization,  # type: ignore[arg-type]
                threads=threads,
                prefix_cache_bytes=prefix_cache_bytes,
                deterministic=deterministic,
                calibration=calibration,
                special_tokens=special_tokens,  # type: ignore[arg-type]
                hot_bytes=hot_bytes,
                warm_up=warm_up,
            ),
            limits=Limits(
                max_documents=max_documents,
                max_body_bytes=max_body_bytes,
                max_pending_requests=max_pending_requests,
                max_pending_bytes=max_pending_bytes,
                max_instruction_tokens=max_instruction_tokens,
                max_results=max_results,
                request_timeout_s=request_timeout,
                body_timeout_s=body_timeout,
                drain_timeout_s=drain_timeout,
                text_cache_bytes=text_cache_bytes,
                states_bytes=states_bytes,
                target_step_s=target_step,
            ),
            host=host,
            port=port,
            api_keys=api_keys,
            served_model_names=tuple(served_model_names or ()),
            allowed_hosts=tuple(allowed_hosts or ()),
            cors_origins=tuple(cors_origins or ()),
            read_only=read_only,
            docs=docs,
            root_path=root_path,
            log_requests=log_requests,
        )
    )


def run(settings: "ServerSettings") -> None:
    """Runs a server until a signal ends it.

    Raises:
        MissingExtraError: The server's libraries are not installed.
        KalmRerankerError: It cannot listen, or the model cannot be loaded.
    """
    for module in _MODULES:
        import_extra(module, extra="server", purpose="Serving over HTTP")

    from kalm_reranker.server.run import serve as serve_until_signal

    show_times_in_log()
    serve_until_signal(settings, _load, announce=lambda line: typer.echo(line, err=True))


def _load(settings: "ServerSettings", listener: "Listener") -> "Answering":
    # Here, because it imports PyTorch: the socket listens before that.
    from kalm_reranker.server.loading import load_answering

    return load_answering(settings, listener)
