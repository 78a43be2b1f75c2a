"""Embedding models of sentence-transformers: one vector for a passage, compared by cosine."""

from collections.abc import Mapping, Sequence

import numpy as np

from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.rankers.sentence_models import library_version, locate_model
from kalm_reranker.evaluation.rankers.vector_files import VectorFiles, text_key
from kalm_reranker.evaluation.results import RankerInfo
from kalm_reranker.options import check_count
from kalm_reranker.search.dense_model import DenseModel, FloatArray


class EmbeddingRanker:
    """Scores are cosines of the query's vector and the passages', which are kept on disk.

    The model's own prompts are used, the task's instruction is not.

    Args:
        model: A short name (see `DENSE_MODELS`), a directory or a hub id.
        name: What tables call it; None for the model's name.
        batch_size: Texts that are encoded at a time.
        device: As sentence-transformers knows them; None lets it choose.
        show_progress: See `progress_bar`.

    Attributes:
        notes: What a reader of the numbers on the dataset has to know.

    Raises:
        CheckpointError: The model cannot be found or fetched, or is of another kind.
        InvalidOptionError: `batch_size` is not positive.
        MissingExtraError: sentence-transformers is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        name: str | None = None,
        batch_size: int = 32,
        device: str | None = None,
        show_progress: bool | None = None,
    ) -> None:
        check_count(batch_size, "batch_size")
        self._located = locate_model(model, "SentenceTransformer")
        self._name = name or self._located.label
        self._batch_size = batch_size
        self._device = device
        self._show_progress = show_progress
        self._model: DenseModel | None = DenseModel(
            self._located.folder, device=device, batch_size=batch_size
        )
        self._vectors: dict[str, FloatArray] = {}  # of a text, [W]
        self._task: RankingTask | None = None
        self._bytes_per_passage: float | None = None
        self.notes: tuple[str, ...] = ()

    @property
    def info(self) -> RankerInfo:
        """What it is, and all that is needed to repeat what it does."""
        return RankerInfo(
            name=self._name,
            kind="embedding",
            model=self._located.name,
            settings={
                **self._located.settings(),
                "batch_size": self._batch_size,
                "device": self._device,
                "score": "cosine",
                "stored_as": "float32",
            },
        )

    def prepare(self, task: RankingTask) -> None:
        """Encodes the candidates that no earlier evaluation encoded, and reads all vectors.

        Raises:
            InvalidCheckpointError: The model cannot be loaded.
            NonFiniteScoreError: It made NaN or infinite values.
            DataFileError: `task.folder` cannot be read or written.
            DamagedStoreError: The vectors there are not what was written.
        """
        assert self._model is not None  # not after `close`
        model = self._model
        texts = [task.passages[key] for key in task.candidate_ids]
        made_from = {
            **self._located.settings(),
            "torch": library_version("torch"),
            "kind": "unit vectors",
        }
        files = VectorFiles(task.folder, made_from=made_from, width=model.width)
        files.add(texts, lambda block: _rows(model, block), show_progress=self._show_progress)
        read = files.read(texts)
        self._vectors = {text_key(text): rows[0] for text, rows in zip(texts, read, strict=True)}
        sizes = [files.num_bytes(text) for text in texts]
        self._bytes_per_passage = sum(sizes) / len(sizes) if sizes else None
        self._task = task
        self.notes = ()
        if task.instruction is not None or task.query_instructions:
            self.notes = (f"{self._name} is asked with its own prompt, not the instruction.",)

    def score(self, query_id: str, query: str, candidate_ids: Sequence[str]) -> Mapping[str, float]:
        """Returns the cosine of each candidate.

        Raises:
            NonFiniteScoreError: The model made NaN or infinite values.
        """
        assert self._model is not None  # not after `close`
        assert self._task is not None  # `prepare` comes first
        if not candidate_ids:
            return {}
        passages = self._task.passages
        vectors = np.stack([self._vectors[text_key(passages[key])] for key in candidate_ids])
        cosines = vectors @ self._model.encode_query(query)  # [P, W] x [W] -> [P]
        return dict(zip(candidate_ids, map(float, cosines), strict=True))

    def bytes_per_passage(self) -> float | None:
        """Returns the size of a vector as it is stored: 4 bytes a value."""
        return self._bytes_per_passage

    def close(self) -> None:
        """Lets go of the model and the vectors."""
        self._model = None
        self._task = None
        self._vectors = {}


def _rows(model: DenseModel, texts: list[str]) -> list[FloatArray]:
    return list(model.encode_passages(texts)[:, None, :])  # [P, W] -> P times [1, W]
