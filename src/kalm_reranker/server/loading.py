"""From settings to a service: the model, the index, and a first run of both."""

import logging
import sys
import time

from kalm_reranker.batching.listener import Listener
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.options import UNSET
from kalm_reranker.reranker import KaLMReranker
from kalm_reranker.server.answering import Answering
from kalm_reranker.server.service import Service
from kalm_reranker.server.settings import ModelSettings, ServerSettings

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "pico"
_SWITCH_S = 0.0005


def load_answering(settings: ServerSettings, listener: Listener) -> Answering:
    """Loads the model, opens the index and makes the service.

    Raises:
        CheckpointError: The model cannot be found, fetched or used.
        StoreError: The index cannot be opened.
        StatesMismatchError: The model is not the one that made the index.
        CalibrationError: The calibration cannot be read, or was fitted to another model.
        InputError: A setting is out of range.
    """
    # After each operation PyTorch wants Python's lock back. Threads that parse requests would keep
    # it for 5 ms each time, which is longer than most operations take.
    sys.setswitchinterval(_SWITCH_S)
    model = settings.model
    index = None if model.index is None else _open_index(model)
    reranker = _load_reranker(model) if index is None else index.reranker
    # What requests will need is done now, by whoever can still say that it failed.
    fingerprint = reranker.provenance.model_fingerprint
    logger.info("model %s, fingerprint %s", reranker.checkpoint.name, fingerprint)
    if index is not None and not settings.read_only:
        _ = index.encoder
    service = Service(reranker, settings.limits, index=index, listener=listener)
    if model.warm_up:
        try:
            _warm_up(reranker, index, settings.limits.max_documents)
        except BaseException:
            service.close()
            raise
    return service


def _warm_up(reranker: KaLMReranker, index: PassageIndex | None, max_documents: int) -> None:
    """Runs the model, and brings the first stage up to date."""
    start = time.perf_counter()
    # What is compiled is compiled for shapes like those of requests; else a few will do.
    if reranker.engine.name == "compiled":
        reranker.warm_up(num_candidates=min(100, max_documents))
    else:
        reranker.warm_up(num_candidates=8, num_queries=1)
    if index is not None:
        for note in index.sync_first_stage():
            logger.warning("%s", note)
    logger.info("warmed up in %.1f s", time.perf_counter() - start)


def _load_reranker(model: ModelSettings) -> KaLMReranker:
    return KaLMReranker(
        model.model or DEFAULT_MODEL,
        device=model.device,
        dtype=model.dtype,
        query_max_length=model.query_max_length,
        max_length=model.max_length,
        compression_ratio=model.compression_ratio,
        special_tokens=model.special_tokens,
        long_documents=model.long_documents or "truncate",
        deterministic=model.deterministic,
        prefix_cache_bytes=model.prefix_cache_bytes,
        engine=model.engine,
        quantization=model.quantization,
        calibration=model.calibration,
        threads=model.threads,
    )


def _open_index(model: ModelSettings) -> PassageIndex:
    """Opens the index, and loads its model with the settings that an index leaves open.

    Raises:
        InvalidOptionError: A setting is given that the index has already.
    """
    assert model.index is not None  # callers look
    fixed = {
        "compression_ratio": model.compression_ratio,
        "max_length": model.max_length,
        "long_documents": UNSET if model.long_documents is None else model.long_documents,
    }
    given = [name for name, value in fixed.items() if value is not UNSET]
    if given:
        raise InvalidOptionError(
            f"{' and '.join(given)} belong to the index, which has its own.",
            hint="Leave them out, or make another index with them.",
        )
    query_max_length = model.query_max_length
    return PassageIndex.open(
        model.index,
        model.model,
        hot_bytes=model.hot_bytes,
        device=model.device,
        dtype=model.dtype,
        engine=model.engine,
        quantization=model.quantization,
        prefix_cache_bytes=model.prefix_cache_bytes,
        calibration=model.calibration,
        query_max_length=None if query_max_length is UNSET else query_max_length,
        special_tokens=model.special_tokens,
        deterministic=model.deterministic,
        threads=model.threads,
    )
