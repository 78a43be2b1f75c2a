"""Embedding models of sentence-transformers: one vector for a passage, compared by cosine."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.rankers.kept_vectors import KeptVectorsRanker
from kalm_reranker.evaluation.rankers.vector_files import text_key
from kalm_reranker.search.dense_model import DenseModel, FloatArray


class EmbeddingRanker(KeptVectorsRanker):
    """Scores are cosines of the query's vector and the passages'; arguments are those of the base.

    The model's own prompts are used, the task's instruction is not.
    """

    model_class = "SentenceTransformer"
    kind = "embedding"
    score_name = "cosine"
    vectors_name = "unit vectors"

    _model: DenseModel | None = None
    _vectors: Mapping[str, FloatArray] = MappingProxyType({})  # of a text, [W]

    def prepare(self, task: RankingTask) -> None:
        """Encodes the candidates that no earlier evaluation encoded, and reads all vectors.

        Raises:
            InvalidCheckpointError: The model cannot be loaded.
            NonFiniteScoreError: It made NaN or infinite values.
            DataFileError: `task.folder` cannot be read or written.
            DamagedStoreError: The vectors there are not what was written.
        """
        if self._model is None:
            self._model = DenseModel(
                self._located.folder, device=self._device, batch_size=self._batch_size
            )
        model = self._model
        texts = [task.passages[key] for key in task.candidate_ids]
        files = self._open_files(task, model.width)
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
        assert self._model is not None  # `prepare` comes first
        assert self._task is not None
        if not candidate_ids:
            return {}
        passages = self._task.passages
        vectors = np.stack([self._vectors[text_key(passages[key])] for key in candidate_ids])
        cosines = vectors @ self._model.encode_query(query)  # [P, W] x [W] -> [P]
        return dict(zip(candidate_ids, map(float, cosines), strict=True))

    def close(self) -> None:
        """Lets go of the model and the vectors."""
        self._model = None
        self._task = None
        self._vectors = {}


def _rows(model: DenseModel, texts: list[str]) -> list[FloatArray]:
    return list(model.encode_passages(texts)[:, None, :])  # [P, W] -> P times [1, W]
