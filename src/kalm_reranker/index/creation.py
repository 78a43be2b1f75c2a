"""Making an index: what its header says, and the checks on what is asked for."""

import os
import secrets
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kalm_reranker import __version__
from kalm_reranker.encoding.windows import check_window_ratio
from kalm_reranker.errors import InvalidOptionError, StoreExistsError
from kalm_reranker.model.pooling import check_ratio
from kalm_reranker.options import UNSET, RatioOption
from kalm_reranker.search.analysis import check_language
from kalm_reranker.store.codecs import codec_named, default_codec
from kalm_reranker.store.header import DenseHeader, StoreHeader

if TYPE_CHECKING:
    from kalm_reranker.reranker import KaLMReranker
    from kalm_reranker.search.dense_model import DenseModel


def new_header(
    reranker: "KaLMReranker",
    *,
    compression_ratio: RatioOption,
    codec: str | None,
    keep_text: bool,
    language: str,
    dense: "DenseModel | None",
) -> StoreHeader:
    """Returns the header of a new index.

    Args:
        reranker: Its model, length limit, choice for longer documents and dtype are the index's.
        compression_ratio: The base ratio; the reranker's, if not given.
        codec: How states are written; without loss for the reranker's dtype, if None.
        keep_text: Whether texts are kept.
        language: How BM25 reads them.
        dense: The dense model, for vectors beside the states.

    Raises:
        InvalidRatioError: The ratio is no positive integer or None, or does not divide the length
            of windows.
        InvalidOptionError: The codec or the language is unknown, or `keep_text` is no bool.
    """
    ratio = (
        reranker.compression_ratio if compression_ratio is UNSET else check_ratio(compression_ratio)
    )
    window = reranker.provenance.window
    if window is not None:
        check_window_ratio(ratio, window)
    name = default_codec(reranker.dtype) if codec is None else codec_named(codec).name
    if not isinstance(keep_text, bool):
        raise InvalidOptionError(f"keep_text must be True or False; got {keep_text!r}.")
    check_language(language)
    return StoreHeader(
        store_id=secrets.token_hex(16),
        model=_model_name(reranker),
        revision=reranker.checkpoint.revision,
        provenance=reranker.provenance,
        compression_ratio=ratio,
        codec=name,
        width=reranker.width,
        keep_text=keep_text,
        language=language,
        dense=None
        if dense is None
        else DenseHeader(
            model=_absolute(dense.name), fingerprint=dense.fingerprint, width=dense.width
        ),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        created_by=f"kalm-reranker {__version__}",
    )


# What may differ between an index and the settings it is opened with as if it were to be made: who
# made it and when, and where its models are found.
_FREE = frozenset(
    {"store_id", "created_at", "created_by", "model", "revision", "dense", "provenance"}
)


def check_same_settings(found: StoreHeader, wanted: StoreHeader, folder: Path) -> None:
    """Refuses an index that was made with other settings than it would be made with now.

    Raises:
        StoreExistsError: One differs; the message names it.
    """
    pairs = [
        (name, theirs, ours)
        for name, theirs in _settings(found)
        for other, ours in _settings(wanted)
        if name == other
    ]
    dense = [
        None if header.dense is None else header.dense.fingerprint for header in (found, wanted)
    ]
    for name, theirs, ours in [*pairs, ("dense model", *dense)]:
        if theirs != ours:
            raise StoreExistsError(
                f"There is an index in {folder} already, made with {name}={theirs!r}; asked for is "
                f"{name}={ours!r}.",
                hint="Leave out what differs, or choose another folder.",
            )


def _settings(header: StoreHeader) -> list[tuple[str, object]]:
    own = [(f.name, getattr(header, f.name)) for f in fields(header) if f.name not in _FREE]
    return [*asdict(header.provenance).items(), *own]


def _model_name(reranker: "KaLMReranker") -> str:
    """Returns what loads the model again, from any working directory."""
    checkpoint = reranker.checkpoint
    return str(checkpoint.directory) if checkpoint.source == "local" else checkpoint.name


def _absolute(name: str) -> str:
    return os.path.abspath(name) if os.path.isdir(name) else name
