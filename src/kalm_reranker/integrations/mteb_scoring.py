"""Scores the pairs of an mteb task from stored passage states. Knows no mteb."""

import re
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from kalm_reranker.errors import InvalidOptionError, TextTypeError, shown
from kalm_reranker.options import check_count
from kalm_reranker.progress import progress_bar

if TYPE_CHECKING:  # importing these costs torch
    from kalm_reranker.evaluation.rankers.states import CandidateStates
    from kalm_reranker.reranker import KaLMReranker

ScoreKind: TypeAlias = Literal["margin", "probability"]
_SCORE_KINDS: tuple[ScoreKind, ...] = ("margin", "probability")


class TaskQuery(NamedTuple):
    """What the decoder reads for a query.

    Attributes:
        text: The query.
        instruction: The task instruction; None for the checkpoint's default.
    """

    text: str
    instruction: str | None


class StoredScorer:
    """A reranker with the states of the passages it met.

    Passages are known by their text, so those that several subsets, splits or queries share are
    encoded once, whatever ids they have there.

    Args:
        reranker: The model; its compression ratio is the one that is scored at.
        states_folder: Where states are kept between runs, in a folder for each model and task.
            None keeps those of one task at a time in a temporary folder (`TMPDIR`).
        stored_ratio: Ratio to store states at, so that later runs can score at any multiple of
            it; the reranker's own, if None.
        scores: "margin" or "probability"; docs/mteb.md says why margins are the default.

    Raises:
        InvalidOptionError: `scores` is neither, `states_folder` is no path, or `stored_ratio` is
            no positive integer.
    """

    def __init__(
        self,
        reranker: "KaLMReranker",
        *,
        states_folder: str | Path | None = None,
        stored_ratio: int | None = None,
        scores: ScoreKind = "margin",
    ) -> None:
        if scores not in _SCORE_KINDS:
            raise InvalidOptionError(
                f"scores must be one of {', '.join(_SCORE_KINDS)}; got {scores!r}."
            )
        if states_folder is not None and not isinstance(states_folder, str | Path):
            raise InvalidOptionError(
                f"states_folder must be a path or None; got {shown(states_folder)}."
            )
        self.reranker = reranker
        self._ratios = [reranker.compression_ratio]
        if stored_ratio is not None:
            self._ratios.append(check_count(stored_ratio, "stored_ratio"))
        self._scores: ScoreKind = scores
        self._folder = None if states_folder is None else Path(states_folder)
        self._scratch: Path | None = None

    def encode(self, task: str, texts: Sequence[str], *, show_progress: bool | None = None) -> None:
        """Makes the states of passages that have none yet.

        Raises:
            StoreError: The states cannot be written.
        """
        self._opened(task, _by_key(texts), show_progress).close()

    def score(
        self,
        task: str,
        queries: Sequence[TaskQuery],
        texts: Sequence[str],
        *,
        show_progress: bool | None = None,
    ) -> list[float]:
        """Returns the score of each pair `(queries[i], texts[i])`, in order.

        Args:
            task: Name of the task the passages belong to.
            queries: One for each pair.
            texts: The passage of each pair.
            show_progress: None shows bars for long lists on a terminal.

        Raises:
            InvalidTextError: A query is empty or cannot be read.
            StoreError: The states cannot be written or read.
        """
        scores = [0.0] * len(texts)
        if not texts:
            return scores
        places: dict[TaskQuery, list[int]] = {}
        for place, query in enumerate(queries):
            places.setdefault(query, []).append(place)
        keys = [_key(text) for text in texts]
        states = self._opened(task, dict(zip(keys, texts, strict=True)), show_progress)
        try:
            with progress_bar(
                len(texts), label="score", unit="pairs", show=show_progress
            ) as on_progress:
                for query, own in places.items():
                    found = self._score_query(query, [keys[place] for place in own], states)
                    for place, score in zip(own, found, strict=True):
                        scores[place] = score
                    on_progress(len(own))
        finally:
            states.close()
        return scores

    def _score_query(
        self, query: TaskQuery, keys: Sequence[str], states: "CandidateStates"
    ) -> list[float]:
        ratio = self.reranker.compression_ratio
        score_of: dict[str, float] = {}
        # A task may ask about thousands of passages at once: all of a conversation, or of a book.
        for block in states.blocks(list(dict.fromkeys(keys)), ratio):
            pairs = self.reranker.score(
                query.text,
                states.read(block, ratio),
                query.instruction,
                return_margin=True,
                show_progress=False,
            )
            wanted = [pair.margin if self._scores == "margin" else pair.score for pair in pairs]
            score_of |= zip(block, wanted, strict=True)
        return [score_of[key] for key in keys]

    def _opened(
        self, task: str, passages: Mapping[str, str], show_progress: bool | None
    ) -> "CandidateStates":
        from kalm_reranker.evaluation.rankers.states import CandidateStates, encoding_bar

        with encoding_bar(len(passages), label="encode", show=show_progress) as on_progress:
            return CandidateStates(
                self._task_folder(task),
                self.reranker,
                passages,
                self._ratios,
                on_progress=on_progress,
            )

    def _task_folder(self, task: str) -> Path:
        name = re.sub(r"[^\w.-]", "_", task)
        if self._folder is not None:
            model = self.reranker.checkpoint.name.replace("/", "--")
            fingerprint = self.reranker.provenance.model_fingerprint
            return self._folder / f"{model}-{fingerprint[:12]}" / name
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="kalm-mteb-"))
            weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        # mteb runs one task after another; states of all of them together may fill the disk.
        for other in self._scratch.iterdir():
            if other.name != name:
                shutil.rmtree(other, ignore_errors=True)
        return self._scratch / name


def _by_key(texts: Sequence[str]) -> dict[str, str]:
    return {_key(text): text for text in texts}


def _key(text: str) -> str:
    """Returns what names a passage in the store.

    Raises:
        TextTypeError: It is no string.
    """
    if not isinstance(text, str):
        raise TextTypeError(
            f"the text of a passage must be a string; got {type(text).__name__}.",
            hint="This wrapper reads text; tasks of other modalities need another model.",
        )
    # Lone surrogates have no UTF-8; the encoder's check, which comes later, tells of them.
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def loaded_scorer(
    model: str,
    revision: str | None,
    device: str | None,
    settings: Mapping[str, Any],
) -> StoredScorer:
    """Loads a model and puts a scorer around it.

    Args:
        model: As in `KaLMReranker`.
        revision: Commit on the hub; None for other models.
        device: As in `KaLMReranker`.
        settings: Of `StoredScorer`; all others go to `KaLMReranker`.

    Raises:
        InvalidOptionError: Neither has a setting of that name.
        CheckpointError: The model cannot be found, fetched or used.
    """
    from inspect import signature

    from kalm_reranker.reranker import KaLMReranker

    own = ("states_folder", "stored_ratio", "scores")
    rest = {name: value for name, value in settings.items() if name not in own}
    known = [*own, *list(signature(KaLMReranker).parameters)[1:]]
    unknown = [name for name in rest if name not in known]
    if unknown:
        raise InvalidOptionError(
            f"There is no setting {unknown[0]!r}.", hint=f"Settings: {', '.join(known)}."
        )
    reranker = KaLMReranker(model, device=device, revision=revision, **rest)
    return StoredScorer(reranker, **{name: settings[name] for name in own if name in settings})
