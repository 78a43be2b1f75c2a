"""Cross-encoders of sentence-transformers: query and passage are read together, nothing is kept."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kalm_reranker.errors import InvalidCheckpointError, InvalidOptionError, NonFiniteScoreError
from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.rankers.instructed import instructed_prompt
from kalm_reranker.evaluation.rankers.sentence_models import load_model, locate_model
from kalm_reranker.evaluation.results import RankerInfo
from kalm_reranker.options import check_count


class CrossEncoderRanker:
    """Scores are the model's raw logits: a sigmoid would round the best ones to the same number.

    The model is loaded by the first `prepare`.

    Args:
        model: A directory or a hub id.
        name: What tables call it; None for the model's name.
        max_length: Tokens of query and passage together; None for the model's own limit.
        batch_size: Pairs that are scored at a time.
        device: As sentence-transformers knows them; None lets it choose.

    Raises:
        CheckpointError: The model cannot be found or fetched, or is of another kind.
        InvalidOptionError: A number is not positive.
        MissingExtraError: sentence-transformers is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        name: str | None = None,
        max_length: int | None = None,
        batch_size: int = 32,
        device: str | None = None,
    ) -> None:
        check_count(batch_size, "batch_size")
        if max_length is not None:
            check_count(max_length, "max_length")
        self._located = locate_model(model, "CrossEncoder")
        self._name = name or self._located.label
        self._max_length = max_length
        self._batch_size = batch_size
        self._device = device
        self._model: Any = None
        self._task: RankingTask | None = None
        self._own_prompt: str | None = None
        self.notes: tuple[str, ...] = ()

    @property
    def info(self) -> RankerInfo:
        """What it is, and all that is needed to repeat what it does."""
        return RankerInfo(
            name=self._name,
            kind="cross-encoder",
            model=self._located.name,
            settings={
                **self._located.settings(),
                "max_length": self._max_length,
                "batch_size": self._batch_size,
                "device": self._device,
                "score": "logit",
            },
        )

    def prepare(self, task: RankingTask) -> None:
        """Loads the model and looks whether it reads the task's instruction.

        Raises:
            InvalidCheckpointError: It cannot be loaded, or gives more than one score for a pair.
            InvalidOptionError: `max_length` is more than the model can read.
        """
        if self._model is None:
            self._model = self._loaded()
        self._task = task
        self._own_prompt = (self._model.prompts or {}).get(self._model.default_prompt_name)
        self.notes = ()
        asked = [task.instruction, *task.query_instructions.values()]
        given = [one for one in asked if one is not None]
        if given and self._prompt(given[0]) is None:
            self.notes = (f"{self._name} has no prompt that takes an instruction; it got none.",)

    def score(self, query_id: str, query: str, candidate_ids: Sequence[str]) -> Mapping[str, float]:
        """Returns the logit of each candidate.

        Raises:
            NonFiniteScoreError: The model made NaN or infinite logits.
        """
        assert self._model is not None  # `prepare` comes first
        assert self._task is not None
        if not candidate_ids:
            return {}
        from torch.nn import Identity

        passages = self._task.passages
        logits = np.asarray(
            self._model.predict(
                [(query, passages[passage_id]) for passage_id in candidate_ids],
                prompt=self._prompt(self._task.instruction_for(query_id)),
                batch_size=self._batch_size,
                show_progress_bar=False,
                activation_fn=Identity(),
                convert_to_numpy=True,
            )
        )  # float32 [P]
        if not np.isfinite(logits).all():
            raise NonFiniteScoreError(
                f"{self._name} made NaN or infinite scores for query {query_id!r}.",
                hint="Load it in float32, or on another device.",
            )
        return dict(zip(candidate_ids, map(float, logits), strict=True))

    def bytes_per_passage(self) -> float | None:
        """Returns None: nothing is stored."""
        return None

    def close(self) -> None:
        """Lets go of the model."""
        self._model = None
        self._task = None

    def _prompt(self, instruction: str | None) -> str | None:
        return instructed_prompt(
            self._own_prompt, instruction, reads_messages=_reads_messages(self._model)
        )

    def _loaded(self) -> Any:  # noqa: ANN401
        model = load_model(self._located, device=self._device, max_length=self._max_length)
        if model.num_labels != 1:
            raise InvalidCheckpointError(
                f"{self._located.name} gives {model.num_labels} values for a pair; a ranking needs "
                "a model with one.",
                hint="Models that tell apart classes, such as entailment, order nothing.",
            )
        config = getattr(getattr(model, "model", None), "config", None)
        limit = getattr(config, "max_position_embeddings", None)
        if self._max_length is not None and limit is not None and self._max_length > limit:
            raise InvalidOptionError(
                f"max_length must be at most {limit}, the positions that {self._located.name} "
                f"knows; got {self._max_length}."
            )
        return model


def _reads_messages(model: Any) -> bool:  # noqa: ANN401
    """Tells whether pairs become a conversation in which a prompt is the system message.

    The library makes one wherever the tokenizer has a template for it; not every template asks for
    a message of the role 'system'.
    """
    if "message" not in (getattr(model[0], "modality_config", None) or {}):
        return False
    template = getattr(model.tokenizer, "chat_template", None)
    return re.search(r"""(["'])system\1""", str(template)) is not None
