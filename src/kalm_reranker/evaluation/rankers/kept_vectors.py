"""What rankers have in common that keep vectors of passages on disk."""

from typing import Any, ClassVar

from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.rankers.sentence_models import (
    ModelClass,
    library_version,
    locate_model,
)
from kalm_reranker.evaluation.rankers.vector_files import VectorFiles
from kalm_reranker.evaluation.results import RankerInfo, RankerKind
from kalm_reranker.options import check_count


class KeptVectorsRanker:
    """A model of sentence-transformers whose vectors of passages are kept on disk, as float32.

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
        MissingExtraError: sentence-transformers is not installed, or too old.
    """

    model_class: ClassVar[ModelClass]
    kind: ClassVar[RankerKind]
    score_name: ClassVar[str]
    vectors_name: ClassVar[str]

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
        self._located = locate_model(model, self.model_class)
        self._name = name or self._located.label
        self._batch_size = batch_size
        self._device = device
        self._show_progress = show_progress
        self._task: RankingTask | None = None
        self._bytes_per_passage: float | None = None
        self.notes: tuple[str, ...] = ()

    @property
    def info(self) -> RankerInfo:
        """What it is, and all that is needed to repeat what it does."""
        return RankerInfo(
            name=self._name,
            kind=self.kind,
            model=self._located.name,
            settings={
                **self._located.settings(),
                "batch_size": self._batch_size,
                "device": self._device,
                "score": self.score_name,
                "stored_as": "float32",
            },
        )

    def bytes_per_passage(self) -> float | None:
        """Returns the mean size of a candidate's vectors as stored: 4 bytes a value."""
        return self._bytes_per_passage

    def _open_files(self, task: RankingTask, width: int) -> VectorFiles:
        """Returns the files of a dataset's vectors, whether there are any yet or not.

        Args:
            task: The dataset.
            width: W, values of a vector.
        """
        made_from: dict[str, Any] = {
            **self._located.settings(),
            "torch": library_version("torch"),
            "kind": self.vectors_name,
        }
        return VectorFiles(task.folder, made_from=made_from, width=width)
