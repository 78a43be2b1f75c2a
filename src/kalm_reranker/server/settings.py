"""Settings of a server: frozen, checked where they are made, shown by `/info` but for secrets."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from kalm_reranker.encoding.tokenizer import SpecialTokens
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.options import (
    UNSET,
    EngineName,
    LongDocuments,
    QuantizationName,
    RatioOption,
    Unset,
    check_bytes,
    check_count,
)

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which model answers, and how it runs; `KaLMReranker` says what each one means.

    Args:
        model: Short name, directory or hub id. With an index: where its model is, if it moved.
        index: Folder of a `PassageIndex` to answer from and add to.
        compression_ratio: As in `KaLMReranker`; an index has its own.
        max_length: As in `KaLMReranker`; an index has its own.
        long_documents: As in `KaLMReranker`; an index has its own.
        query_max_length: As in `KaLMReranker`.
        device: As in `KaLMReranker`.
        dtype: As in `KaLMReranker`.
        engine: As in `KaLMReranker`.
        quantization: As in `KaLMReranker`.
        threads: As in `KaLMReranker`.
        prefix_cache_bytes: As in `KaLMReranker`.
        deterministic: As in `KaLMReranker`.
        calibration: As in `KaLMReranker`.
        special_tokens: As in `KaLMReranker`; "text", since requests are not trusted.
        hot_bytes: Stored states that an index keeps in memory.
        warm_up: Run made-up requests before the first real one.
    """

    model: str | None = None
    index: Path | None = None
    compression_ratio: RatioOption = UNSET
    max_length: int | Unset = UNSET
    long_documents: LongDocuments | None = None
    query_max_length: int | Unset = UNSET
    device: str | None = None
    dtype: str | None = None
    engine: EngineName = "auto"
    quantization: QuantizationName | None = None
    threads: int | None = None
    prefix_cache_bytes: int | None = None
    deterministic: bool = False
    calibration: Path | None = None
    special_tokens: SpecialTokens = "text"
    hot_bytes: int = 256 * _MIB
    warm_up: bool = True

    def __post_init__(self) -> None:
        check_bytes(self.hot_bytes, "hot_bytes")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server takes on at once.

    Args:
        max_documents: Documents, or pairs, of a request; more get 413.
        max_body_bytes: Bytes of a request's body; more get 413.
        max_pending_requests: Requests that are accepted and not answered yet; more get 429.
        max_pending_bytes: Bytes of the bodies of those; more get 429.
        max_instruction_tokens: Tokens of a request's task instruction; more get 400.
        max_results: Largest `top_k` and `candidates` of a search.
        request_timeout_s: Seconds from acceptance to answer; later it is 504.
        body_timeout_s: Seconds in which a body must have arrived; later it is 408.
        drain_timeout_s: Seconds that accepted requests have to end when the server stops.
        text_cache_bytes: States of documents that came as text, kept so that none is encoded
            twice; 0 keeps none.
        states_bytes: Passage states that requests in work hold at once, together; others wait.
        target_step_s: Seconds that a request's part of a batch should take. Small requests wait for
            about one such part of a large one.
    """

    max_documents: int = 1_000
    max_body_bytes: int = 16 * _MIB
    max_pending_requests: int = 256
    max_pending_bytes: int = 256 * _MIB
    max_instruction_tokens: int = 1_024
    max_results: int = 1_000
    request_timeout_s: float = 300.0
    body_timeout_s: float = 30.0
    drain_timeout_s: float = 30.0
    text_cache_bytes: int = 256 * _MIB
    states_bytes: int = 1024 * _MIB
    target_step_s: float = 0.05

    def __post_init__(self) -> None:
        for name in ("max_documents", "max_body_bytes", "max_pending_requests", "max_results"):
            check_count(getattr(self, name), name)
        check_count(self.max_instruction_tokens, "max_instruction_tokens")
        check_bytes(self.text_cache_bytes, "text_cache_bytes")
        check_count(self.states_bytes, "states_bytes")
        check_count(self.max_pending_bytes, "max_pending_bytes")
        if self.max_pending_bytes < self.max_body_bytes:
            # A body that fits on its own would get 429 for ever.
            raise InvalidOptionError(
                f"max_pending_bytes must be at least max_body_bytes ({self.max_body_bytes:,}); "
                f"got {self.max_pending_bytes:,}."
            )
        for name in ("request_timeout_s", "body_timeout_s", "drain_timeout_s", "target_step_s"):
            _check_seconds(getattr(self, name), name)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """All of a server's settings.

    Args:
        model: The model.
        limits: What is taken on at once.
        host: Address to listen on; loopback, unless said otherwise.
        port: Port to listen on; 0 for any that is free.
        api_keys: Any of them opens everything; none: nothing is guarded.
        served_model_names: Names that requests may call the model by, besides its own; "*" is any.
        allowed_hosts: Values of the Host header that are answered; "*" is any. If empty: names of
            loopback where the server listens there alone, else any.
        cors_origins: Origins whose pages may call the server from a browser; none, if empty.
        read_only: Refuse to add and delete passages.
        docs: Serve the OpenAPI document and its page.
        root_path: Prefix that a reverse proxy strips.
        log_requests: Log a line for each request.
    """

    model: ModelSettings = field(default_factory=ModelSettings)
    limits: Limits = field(default_factory=Limits)
    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    served_model_names: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    read_only: bool = False
    docs: bool = True
    root_path: str = ""
    log_requests: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InvalidOptionError(f"port must be from 0 to 65535; got {self.port}.")
        if any(not key.strip() for key in self.api_keys):
            raise InvalidOptionError(
                "api_keys must not be empty; got an empty one.",
                hint="Leave keys out altogether to guard nothing.",
            )


def _check_seconds(value: object, name: str) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise InvalidOptionError(f"{name} must be a positive number of seconds; got {value!r}.")
