"""The models of an index, loaded when they are first needed and held to what the index says."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kalm_reranker.errors import StatesMismatchError
from kalm_reranker.index.origin import check_same_encoding, check_same_model
from kalm_reranker.reranker import KaLMReranker
from kalm_reranker.store.header import StoreHeader

if TYPE_CHECKING:
    from kalm_reranker.search.dense_model import DenseModel

ModelInput: TypeAlias = str | os.PathLike[str] | KaLMReranker


class IndexModels:
    """Loads the models of an index. Threads may share it.

    Args:
        folder: The index, for messages.
        header: What the index says of its models.
        model: Where to find the reranker, if not where the header says; or a ready-made one.
        dense: A ready-made dense model; None where it is to be loaded.
        dtype: For scoring, as in `KaLMReranker`; float32 where the states are, if None, else what
            the machine is fast at.
        options: Other settings of `KaLMReranker`, for both models; None means not given.
        query_options: The same, for the model for queries alone.
    """

    def __init__(
        self,
        folder: Path,
        header: StoreHeader,
        model: ModelInput | None,
        *,
        dense: "DenseModel | None" = None,
        dtype: str | None = None,
        options: Mapping[str, Any] | None = None,
        query_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = folder
        self._header = header
        self._model = model
        self._dtype = dtype
        self._options = _given(options)
        self._query_options = _given(query_options)
        # Loading takes seconds: of several threads that ask, one does it.
        self._lock = threading.RLock()
        self._reranker: KaLMReranker | None = None
        self._encoder: KaLMReranker | None = None
        self._dense = dense

    @property
    def reranker(self) -> KaLMReranker:
        """The model for queries.

        Raises:
            StatesMismatchError: It is not the model that made the states.
            CalibrationMismatchError: It is not the model that the calibration was fitted to.
            CheckpointError: It cannot be found, fetched or used.
        """
        with self._lock:
            if self._reranker is None:
                self._reranker = self._given or self._loaded(
                    self._scoring_dtype(), self._query_options
                )
                self._check(self._reranker)
            return self._reranker

    @property
    def encoder(self) -> KaLMReranker:
        """The model for passages: the same, unless queries are scored in another dtype.

        States of one index are all made in one dtype; scoring may take what the machine is fast at.

        Raises:
            StatesMismatchError: It is not the model that made the states, or has another dtype,
                length limit or choice for documents beyond it.
            CheckpointError: It cannot be found, fetched or used.
        """
        with self._lock:
            if self._encoder is None:
                dtype = self._header.provenance.dtype
                same = self._given or self.reranker.provenance.dtype == dtype
                encoder = self.reranker if same else self._loaded(dtype, {"prefix_cache_bytes": 0})
                self._check(encoder)
                check_same_encoding(self._header, encoder.provenance, self._folder)
                self._encoder = encoder
            return self._encoder

    @property
    def dense(self) -> "DenseModel":
        """The model of the dense vectors; only for an index that has some.

        Raises:
            StatesMismatchError: It is not the model that made the vectors.
            MissingExtraError: Its library is not installed.
        """
        header = self._header.dense
        assert header is not None  # callers look at the header first
        with self._lock:
            if self._dense is None:
                from kalm_reranker.search.dense_model import DenseModel

                dense = DenseModel(header.model)
                if dense.fingerprint != header.fingerprint:
                    raise StatesMismatchError(
                        f"The vectors of the index in {self._folder} were made by the dense model "
                        f"{header.model!r} with fingerprint {header.fingerprint}; what is there "
                        f"now has fingerprint {dense.fingerprint}.",
                        hint="Restore that model, search with first_stage='bm25', or make the "
                        "index again.",
                    )
                self._dense = dense
            return self._dense

    @property
    def _given(self) -> KaLMReranker | None:
        return self._model if isinstance(self._model, KaLMReranker) else None

    def _check(self, reranker: KaLMReranker) -> None:
        check_same_model(self._header, reranker.provenance, reranker.checkpoint.name, self._folder)

    def _scoring_dtype(self) -> str | None:
        """What was asked for; float32 for float32 states, else what the machine is fast at."""
        if self._dtype is None and self._header.provenance.dtype == "float32":
            return "float32"
        return self._dtype

    def _loaded(self, dtype: str | None, more_options: Mapping[str, Any]) -> KaLMReranker:
        origin = self._header.provenance
        name = self._header.model if self._model is None else os.fspath(self._model)  # type: ignore[arg-type]
        options = {
            "special_tokens": origin.special_tokens,
            "max_length": origin.max_length,
            "compression_ratio": self._header.compression_ratio,
            "long_documents": origin.long_documents,
            "revision": self._header.revision if self._model is None else None,
        }
        return KaLMReranker(name, dtype=dtype, **{**options, **self._options, **more_options})


def _given(options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (options or {}).items() if value is not None}
