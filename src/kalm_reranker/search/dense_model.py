"""The model of a dense first stage: a sentence-transformers model, loaded when it is needed."""

import difflib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from kalm_reranker.errors import (
    CheckpointNotFoundError,
    InvalidCheckpointError,
    InvalidOptionError,
    NonFiniteScoreError,
)
from kalm_reranker.extras import import_extra
from kalm_reranker.search.dense_files import (
    files_fingerprint,
    hub_snapshot,
    is_hub_id,
    model_files,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FloatArray: TypeAlias = npt.NDArray[np.float32]

# The dense models this package knows by a short name, and their repositories on the model hub.
DENSE_MODELS = {
    "kalm-embedding": "KaLM-Embedding/KaLM-embedding-multilingual-mini-instruct-v2.5",
}

_FORMAT = 1


class DenseModel:
    """Turns passages and queries into unit vectors. Threads may share it.

    Loading, and what it costs, is put off until a vector or the width is asked for. Code that
    comes with a model is never run.

    Args:
        model: A short name, a directory, or a hub id ("organisation/name").
        device: As sentence-transformers knows them; None lets it choose.
        batch_size: Texts that are encoded at a time.

    Attributes:
        name: The model as it can be given again: the short name or hub id, or the absolute path.

    Raises:
        CheckpointNotFoundError: There is no such name or directory.
        InvalidOptionError: `model` is no text or path.
        MissingExtraError: sentence-transformers is not installed.
    """

    def __init__(
        self, model: str | os.PathLike[str], *, device: str | None = None, batch_size: int = 32
    ) -> None:
        import_extra("sentence_transformers", extra="dense", purpose="dense retrieval")
        self._device = device
        self._batch_size = batch_size
        self._hub_id: str | None = None
        self._directory: Path | None = None
        self._lock = threading.RLock()
        self._loaded: SentenceTransformer | None = None
        text = os.fspath(model) if isinstance(model, str | os.PathLike) else None
        if not isinstance(text, str) or not text:
            raise InvalidOptionError(
                f"A dense model must be a short name, a directory or a hub id; got {model!r}.",
                hint=_known_names(),
            )
        self.name = text
        if isinstance(model, str) and text in DENSE_MODELS:
            self._hub_id = DENSE_MODELS[text]
        elif os.path.isdir(os.path.expanduser(text)):
            self._directory = Path(text).expanduser().absolute()
            self.name = str(self._directory)
        elif isinstance(model, str) and is_hub_id(text):
            self._hub_id = text
        else:
            raise _not_found(text)

    @property
    def width(self) -> int:
        """W, values of a vector. Loads the model."""
        model = self._model()
        # The second name is that of release 5.
        ask = getattr(model, "get_embedding_dimension", None) or (
            model.get_sentence_embedding_dimension
        )
        dimension = ask()
        if not dimension:
            raise InvalidCheckpointError(f"{self.name} does not say how wide its vectors are.")
        return int(dimension)

    @property
    def fingerprint(self) -> str:
        """A hash of the model's configuration, tokenizer and weights; fetches them if needed.

        Raises:
            CheckpointError: They cannot be found, fetched, or read.
        """
        folder = self._folder()
        return files_fingerprint(
            folder, model_files(folder), model=self.name, kind=f"dense {_FORMAT}"
        )

    def encode_passages(self, texts: Sequence[str]) -> FloatArray:
        """Returns the unit vectors of passages, float32 [P, W], with the model's own prompt.

        Texts are cut at the model's maximal length.

        Raises:
            CheckpointError: The model cannot be found, fetched, or loaded.
            NonFiniteScoreError: It made NaN or infinite values.
        """
        if not texts:
            return np.empty((0, self.width), np.float32)
        return self._unit(self._model().encode_document(list(texts), **self._options()))

    def encode_query(self, query: str) -> FloatArray:
        """Returns the unit vector of a query, float32 [W], with the model's own prompt.

        Raises:
            CheckpointError: The model cannot be found, fetched, or loaded.
            NonFiniteScoreError: It made NaN or infinite values.
        """
        vector: FloatArray = self._unit(self._model().encode_query([query], **self._options()))[0]
        return vector

    def _options(self) -> dict[str, Any]:
        return {
            "batch_size": self._batch_size,
            "show_progress_bar": False,
            "convert_to_numpy": True,
            "normalize_embeddings": True,
        }

    def _unit(self, vectors: object) -> FloatArray:
        """Returns vectors as float32 of unit norm; a zero vector, as of an empty text, stays."""
        found = np.asarray(vectors, dtype=np.float32)  # [P, W]
        if not np.isfinite(found).all():
            raise NonFiniteScoreError(
                f"{self.name} made NaN or infinite vectors.",
                hint="Load it in float32, or on another device.",
            )
        # Models in half precision are normalised in half precision only.
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        unit: FloatArray = found / np.maximum(norms, np.finfo(np.float32).tiny)
        return unit

    def _folder(self) -> Path:
        with self._lock:
            if self._directory is None:
                assert self._hub_id is not None  # one of them is known
                self._directory = hub_snapshot(self._hub_id)
            return self._directory

    def _model(self) -> "SentenceTransformer":
        with self._lock:
            if self._loaded is None:
                folder = self._folder()
                module = import_extra(
                    "sentence_transformers", extra="dense", purpose="dense retrieval"
                )
                try:
                    self._loaded = module.SentenceTransformer(
                        str(folder),
                        device=self._device,
                        trust_remote_code=False,
                        local_files_only=True,
                    )
                except Exception as error:  # whatever its many modules raise
                    raise InvalidCheckpointError(
                        f"{self.name} cannot be loaded as a sentence-transformers model: "
                        f"{' '.join(str(error).split()).rstrip('.')}.",
                        hint="It needs modules.json and the folders this names; models that bring "
                        "code of their own are not run.",
                    ) from error
            return self._loaded


def _not_found(name: str) -> CheckpointNotFoundError:
    close = difflib.get_close_matches(name.casefold(), DENSE_MODELS, n=1, cutoff=0.5)
    suggestion = f"Did you mean {close[0]!r}? " if close else ""
    return CheckpointNotFoundError(
        f"There is no dense model {name!r}: it is no short name, no directory and no hub id "
        "(organisation/name).",
        hint=f"{suggestion}{_known_names()}",
    )


def _known_names() -> str:
    return f"Short names: {', '.join(DENSE_MODELS)}."
