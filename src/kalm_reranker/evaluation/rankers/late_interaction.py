"""Late interaction models of sentence-transformers: a vector for each token of a passage."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kalm_reranker.errors import InvalidCheckpointError, NonFiniteScoreError
from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.rankers.instructed import instructed_prompt
from kalm_reranker.evaluation.rankers.kept_vectors import KeptVectorsRanker
from kalm_reranker.evaluation.rankers.sentence_models import load_model
from kalm_reranker.evaluation.rankers.vector_files import VectorFiles
from kalm_reranker.search.dense_model import FloatArray


class LateInteractionRanker(KeptVectorsRanker):
    """Scores are the model's own: each query token's best match among the passage's, summed.

    Passages' vectors are read for each query. Arguments are those of the base.
    """

    model_class = "MultiVectorEncoder"
    kind = "late interaction"
    score_name = "the model's own similarity"
    vectors_name = "vectors of tokens"

    _model: Any = None
    _files: VectorFiles | None = None

    def prepare(self, task: RankingTask) -> None:
        """Loads the model and encodes the candidates that no earlier evaluation encoded.

        Raises:
            InvalidCheckpointError: It cannot be loaded.
            NonFiniteScoreError: It made NaN or infinite values.
            DataFileError: `task.folder` cannot be read or written.
        """
        if self._model is None:
            self._model = load_model(self._located, device=self._device)
        texts = [task.passages[key] for key in task.candidate_ids]
        self._files = self._open_files(task, self._width())
        self._files.add(texts, self._encoded, show_progress=self._show_progress)
        sizes = [self._files.num_bytes(text) for text in texts]
        self._bytes_per_passage = sum(sizes) / len(sizes) if sizes else None
        self._task = task
        self.notes = self._notes(task, sum(size == 0 for size in sizes))

    def score(self, query_id: str, query: str, candidate_ids: Sequence[str]) -> Mapping[str, float]:
        """Returns the similarity of each candidate.

        A passage without a single vector is as far from every query as the library puts it.

        Raises:
            NonFiniteScoreError: The model made NaN or infinite values.
            DamagedStoreError: A passage's vectors are not what was written.
        """
        assert self._model is not None  # `prepare` comes first
        assert self._files is not None
        assert self._task is not None
        if not candidate_ids:
            return {}
        import torch

        model = self._model
        options = self._options(self._prompt(self._task.instruction_for(query_id)))
        asked = model.encode_query([query], **options)[0]  # [T, W]
        passages = self._task.passages
        found = self._files.read([passages[key] for key in candidate_ids])
        similarities = model.similarity(
            [asked.float()], [torch.from_numpy(vectors) for vectors in found], device=asked.device
        )[0]  # [P]
        scores = similarities.cpu().numpy()
        if not np.isfinite(scores).all():
            raise NonFiniteScoreError(
                f"{self._name} made NaN or infinite scores for query {query_id!r}.",
                hint="Load it in float32, or on another device.",
            )
        return dict(zip(candidate_ids, map(float, scores), strict=True))

    def close(self) -> None:
        """Lets go of the model."""
        self._model = None
        self._files = None
        self._task = None

    def _encoded(self, texts: list[str]) -> list[FloatArray]:
        found = self._model.encode_document(texts, convert_to_numpy=True, **self._options(None))
        return [np.asarray(vectors, np.float32) for vectors in found]

    def _options(self, prompt: str | None) -> dict[str, Any]:
        options: dict[str, Any] = {"batch_size": self._batch_size, "show_progress_bar": False}
        return options if prompt is None else {**options, "prompt": prompt}

    def _prompt(self, instruction: str | None) -> str | None:
        return instructed_prompt((self._model.prompts or {}).get("query"), instruction)

    def _width(self) -> int:
        width = self._model.get_embedding_dimension()
        if not width:
            raise InvalidCheckpointError(
                f"{self._located.name} does not say how wide its vectors are."
            )
        return int(width)

    def _notes(self, task: RankingTask, num_empty: int) -> tuple[str, ...]:
        notes = []
        asked = [task.instruction, *task.query_instructions.values()]
        given = [one for one in asked if one is not None]
        if given and self._prompt(given[0]) is None:
            notes.append(f"{self._name} has no prompt that takes an instruction; it got none.")
        if num_empty:
            notes.append(f"{self._name} has no vector for {num_empty:,} candidate passages.")
        return tuple(notes)
