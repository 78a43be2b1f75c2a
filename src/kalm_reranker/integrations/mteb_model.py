"""KaLM-Reranker as a cross-encoder of mteb, which scores from stored passage states."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kalm_reranker.errors import InvalidOptionError, InvalidPairError, shown
from kalm_reranker.evaluation.data.instructions import (
    Instruction,
    Instructions,
    published_instructions,
    read_instructions,
)
from kalm_reranker.integrations.mteb_meta import content_revision, describe, model_name
from kalm_reranker.integrations.mteb_scoring import TaskQuery, loaded_scorer

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.model_meta import ModelMeta
    from mteb.types import Array, BatchedInput, PromptType
    from torch.utils.data import DataLoader

    from kalm_reranker.reranker import KaLMReranker

QUERY_FIELDS = ("text", "query")
_PUBLISHED = ("beir", "miracl", "lmeb")


class MtebModel:
    """What both wrappers share: the model, its description, and how queries are read.

    Args:
        model_name: As in `KaLMReranker`, or any name where `checkpoint` is given.
        revision: Commit on the hub; not used with `checkpoint` or a model that is not there.
        device: As in `KaLMReranker`.
        checkpoint: What to load instead of `model_name`: a short name or a directory.
        instruction: The task instruction where neither the query nor `instructions` has one; the
            checkpoint's default, if None.
        instructions: Of tasks: "beir", "miracl" or "lmeb" for the published ones in this package,
            a file in their form, or a dictionary, task name -> instruction. A query's own
            instruction goes first.
        query_field: What the decoder reads as the query where queries have instructions of their
            own: "text" (mteb's: query and instruction, as the official wrapper) or "query".
        settings: Of `StoredScorer` (`states_folder`, `stored_ratio`, `scores`); all others go to
            `KaLMReranker`.

    Raises:
        InvalidOptionError: A setting is unknown or out of range.
        CheckpointError: The model cannot be found, fetched or used.
    """

    def __init__(
        self,
        model_name: str,
        revision: str | None = None,
        device: str | None = None,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        loading = dict(settings)
        checkpoint = loading.pop("checkpoint", None)
        self._instruction = _instruction(loading.pop("instruction", None), "instruction")
        self._instructions = _instructions(loading.pop("instructions", None))
        self._query_field = loading.pop("query_field", "text")
        if self._query_field not in QUERY_FIELDS:
            raise InvalidOptionError(
                f"query_field must be one of {', '.join(QUERY_FIELDS)}; got {self._query_field!r}."
            )
        if checkpoint is not None:
            self.scorer = loaded_scorer(checkpoint, None, device, loading)
        else:
            self.scorer = loaded_scorer(model_name, revision, device, loading)
        self._settings = settings
        self._meta: ModelMeta | None = None

    @property
    def reranker(self) -> "KaLMReranker":
        """The model itself."""
        return self.scorer.reranker

    @property
    def mteb_model_meta(self) -> "ModelMeta":
        """The description that mteb files results under."""
        if self._meta is None:
            checkpoint = self.reranker.checkpoint
            name, revision = model_name(checkpoint), content_revision(checkpoint)
            self._meta = describe(name, revision, type(self), self._settings)
        return self._meta

    @mteb_model_meta.setter
    def mteb_model_meta(self, meta: "ModelMeta") -> None:
        # mteb sets it after loading a model through its description.
        self._meta = meta

    def task_queries(
        self,
        loader: "DataLoader[BatchedInput]",
        task_metadata: "TaskMetadata",
        hf_subset: str,
    ) -> list[TaskQuery]:
        """Returns the queries of a loader, in order, each with the instruction it is read with."""
        found = self._instructions.find(task_metadata.name, hf_subset)
        default = self._instruction if found is None else found.text
        queries: list[TaskQuery] = []
        for batch in loader:
            # Without instructions, loaders made from plain texts have no "query".
            texts = batch[self._query_field] if self._query_field in batch else batch["text"]
            own: Sequence[str | None] = batch.get("instruction") or [None] * len(texts)
            queries += [
                TaskQuery(text, instruction or default)
                for text, instruction in zip(texts, own, strict=True)
            ]
        return queries


class KaLMCrossEncoder(MtebModel):
    """KaLM-Reranker under mteb's `CrossEncoderProtocol`. Arguments: see `MtebModel`.

    Where the official wrapper encodes the passage of each pair anew, each distinct passage of a
    task is encoded once here; with `states_folder`, once for all runs.

    Example:
        >>> model = KaLMCrossEncoder("pico")
        >>> model.mteb_model_meta.name
        'kalm-reranker/pico'
    """

    def predict(
        self,
        inputs1: "DataLoader[BatchedInput]",
        inputs2: "DataLoader[BatchedInput]",
        *,
        task_metadata: "TaskMetadata",
        hf_split: str,
        hf_subset: str,
        prompt_type: "PromptType | None" = None,
        **encode_kwargs: Any,  # noqa: ANN401
    ) -> "Array":
        """Returns the score of each pair of a query and a document.

        Args:
            inputs1: Batches with the query of each pair ("text", and "instruction" if any).
            inputs2: Batches with the document of each pair ("text", title included).
            task_metadata: Of the task; its name chooses instruction and states.
            hf_split: Not used.
            hf_subset: Chooses the instruction too, where a task has several.
            prompt_type: Not used.
            encode_kwargs: `show_progress_bar`, None for long lists on a terminal. `batch_size` is
                that of the loaders; batches of the model are planned by length (see
                `KaLMReranker`). Others are ignored.

        Returns:
            [pairs] float64, in order: margins, or P(yes) with `scores="probability"`.

        Raises:
            InvalidPairError: There are not as many queries as documents.
            InvalidTextError: A query is empty or cannot be read.
            StoreError: The states cannot be written or read.
        """
        queries = self.task_queries(inputs1, task_metadata, hf_subset)
        documents = [text for batch in inputs2 for text in batch["text"]]
        if len(queries) != len(documents):
            raise InvalidPairError(
                f"inputs1 and inputs2 must be the two sides of pairs; got {len(queries)} queries "
                f"and {len(documents)} documents."
            )
        scores = self.scorer.score(
            task_metadata.name,
            queries,
            documents,
            show_progress=encode_kwargs.get("show_progress_bar"),
        )
        return np.array(scores, dtype=np.float64)


def _instruction(value: object, what: str) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise InvalidOptionError(f"{what} must be a non-empty string or None; got {shown(value)}.")
    return value


def _instructions(value: object) -> Instructions:
    if value is None:
        return Instructions([])
    if isinstance(value, str | Path):
        return published_instructions(value) if value in _PUBLISHED else read_instructions(value)
    if not isinstance(value, dict):
        raise InvalidOptionError(
            f"instructions must be {', '.join(_PUBLISHED)}, a file, or a dictionary, task name -> "
            f"instruction; got {shown(value)}."
        )
    given = []
    for task, text in value.items():
        if _instruction(text, f"instructions[{task!r}]") is None:
            raise InvalidOptionError(f"instructions[{task!r}] must be a non-empty string.")
        given.append(Instruction(task=task, subset=None, text=text, source="given"))
    return Instructions(given)
