"""Judged collections of the `mteb` package, by task and subset."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from kalm_reranker.errors import (
    DataFileError,
    DatasetUnavailableError,
    InvalidOptionError,
    KalmRerankerError,
)
from kalm_reranker.evaluation.data.benchmarks import DEFAULT_SUBSET, did_you_mean
from kalm_reranker.evaluation.data.collection import Collection
from kalm_reranker.evaluation.data.judgements import Judgement, judged_collection
from kalm_reranker.extras import import_extra

_PURPOSE = "Reading mteb's tasks"
_TASK_TYPES = ("Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking")

# A download fails with errors of any of these packages, not all of which are OSErrors.
_DOWNLOADERS = {"httpx", "httpcore", "requests", "urllib3", "huggingface_hub", "aiohttp"}


@dataclass(frozen=True, kw_only=True)
class MtebSubset:
    """One judged collection of an mteb task.

    Attributes:
        task: The task's name.
        subset: As mteb calls it; `default` in tasks that have no subsets.
        is_only: Whether the task has no other.
        languages: As mteb writes them: `deu-Latn`.
        splits: With judgements.
        excludes_own_id: Whether passages with the query's id are no candidates.
        instruction: The task's own query prompt; None where it has none.
        part_of: The task that is made of this one and others; None where there is none.
    """

    task: str
    subset: str
    is_only: bool
    languages: tuple[str, ...]
    splits: tuple[str, ...]
    excludes_own_id: bool
    instruction: str | None
    part_of: str | None = None


def mteb_subsets(task_name: str) -> list[MtebSubset]:
    """Returns the subsets of a task; those of its parts where it is made of other tasks.

    Raises:
        InvalidOptionError: mteb has no such task, or it ranks nothing, or not texts.
        MissingExtraError: mteb is not installed.
    """
    task = _task(task_name)
    if task.is_aggregate:
        parts = [one for part in task.metadata.tasks for one in mteb_subsets(part.metadata.name)]
        return [replace(one, part_of=task.metadata.name) for one in parts]
    metadata = task.metadata
    if metadata.type not in _TASK_TYPES or "text" not in metadata.modalities:
        raise InvalidOptionError(
            f"mteb:{task_name} must be a task that ranks texts ({', '.join(_TASK_TYPES)}); it is "
            f"of type {metadata.type} on {', '.join(metadata.modalities)}."
        )
    languages = metadata.eval_langs
    subsets = languages if isinstance(languages, dict) else {DEFAULT_SUBSET: languages}
    prompt = metadata.prompt
    return [
        MtebSubset(
            task=metadata.name,
            subset=subset,
            is_only=len(subsets) == 1,
            languages=tuple(of_subset),
            splits=tuple(metadata.eval_splits),
            excludes_own_id=bool(task.ignore_identical_ids),
            instruction=prompt.get("query") if isinstance(prompt, dict) else prompt,
        )
        for subset, of_subset in subsets.items()
    ]


def load_mteb(
    task_name: str, *, subset: str, split: str, name: str, local_hint: str | None = None
) -> Collection:
    """Returns one subset and split of an mteb task, downloaded by mteb or from its cache.

    Args:
        task_name: As mteb calls it.
        subset: As mteb calls it.
        split: Which judgements.
        name: What to call the collection.
        local_hint: What to do where it cannot be downloaded.

    Raises:
        InvalidOptionError: mteb has no such task, or it has no such split.
        DatasetUnavailableError: The data could not be downloaded.
        DataFileError: The data are not what they should be.
        MissingExtraError: mteb is not installed.
    """
    task = _task(task_name, subset=subset, split=split)
    splits = task.metadata.eval_splits
    if split not in splits:  # mteb's loader would take another one without a word
        raise InvalidOptionError(
            f"split of mteb:{task_name} must be {' or '.join(splits)}; got {split!r}.",
            hint="Leave the split out, or give a local copy that has it.",
        )
    return collection_of_task(task, subset=subset, split=split, name=name, local_hint=local_hint)


def collection_of_task(
    task: Any,  # noqa: ANN401
    *,
    subset: str,
    split: str,
    name: str,
    local_hint: str | None = None,
) -> Collection:
    """Returns one subset and split of an mteb retrieval task, loading its data where needed.

    A task's lists of candidates (`top_ranked`) become pools: rerankers are to order these, and
    memory benchmarks ask about one conversation. A query's own instruction is kept apart from its
    text.

    Raises:
        DatasetUnavailableError: The data could not be downloaded.
        DataFileError: The data are not what they should be.
    """
    what = f"mteb:{task.metadata.name}"
    with _fetching(what, local_hint):
        task.load_data()
        task.convert_v1_dataset_format_to_v2(num_proc=None)
        parts = task.dataset[subset][split]
    passages, titles = _passages(parts["corpus"], what)
    queries, instructions = _queries(parts["queries"], what)
    return judged_collection(
        _judgements(parts["relevant_docs"]),
        name=name,
        passages=passages,
        titles=titles,
        queries=queries,
        source=f"the judgements of {what}",
        place="judgement {}".format,
        pools=parts.get("top_ranked"),
        excludes_own_id=bool(task.ignore_identical_ids),
        query_instructions=instructions,
    )


def _task(name: str, *, subset: str | None = None, split: str | None = None) -> Any:  # noqa: ANN401
    mteb = import_extra("mteb", extra="eval", purpose=_PURPOSE)
    try:
        return mteb.get_task(
            name,
            hf_subsets=None if subset is None else [subset],
            eval_splits=None if split is None else [split],
        )
    except KeyError as error:
        names = [task.metadata.name for task in mteb.get_tasks(task_types=list(_TASK_TYPES))]
        raise InvalidOptionError(
            f"mteb has no task {name!r}.",
            hint=did_you_mean(name, names) or "`mteb available-tasks` lists them.",
        ) from error


def _passages(corpus: Any, what: str) -> tuple[dict[str, str], dict[str, str]]:  # noqa: ANN401
    _require_text(corpus, "passages", what)
    passages: dict[str, str] = {}
    titles: dict[str, str] = {}
    for batch in corpus.iter(batch_size=1000):
        found = batch.get("title") or [None] * len(batch["id"])
        for passage_id, title, text in zip(batch["id"], found, batch["text"], strict=True):
            joined = f"{title or ''} {text or ''}".strip()
            if passages.setdefault(passage_id, joined) != joined:
                raise DataFileError(f"{what}: two passages have the id {passage_id!r}.")
            titles[passage_id] = (title or "").strip()
    return passages, titles


def _queries(queries: Any, what: str) -> tuple[dict[str, str], dict[str, str]]:  # noqa: ANN401
    _require_text(queries, "queries", what)
    texts: dict[str, str] = {}
    instructions: dict[str, str] = {}
    for row in queries:
        if row["id"] in texts:
            raise DataFileError(f"{what}: two queries have the id {row['id']!r}.")
        if not isinstance(row["text"], str):
            raise DataFileError(
                f"{what}: expected texts as queries; query {row['id']!r} is of type "
                f"{type(row['text']).__name__}.",
                hint="Conversations as queries are not supported; write each as one text.",
            )
        texts[row["id"]] = row["text"]
        if row.get("instruction"):
            instructions[row["id"]] = row["instruction"]
    return texts, instructions


def _require_text(table: Any, which: str, what: str) -> None:  # noqa: ANN401
    missing = {"id", "text"} - set(table.column_names)
    if missing:
        raise DataFileError(
            f"{what}: expected columns id and text of its {which}; got "
            f"{', '.join(table.column_names) or 'none'}."
        )


def _judgements(relevant: Mapping[str, Mapping[str, int] | Sequence[str]]) -> Iterator[Judgement]:
    """Yields judgements; older tasks give lists of relevant passages in place of grades."""
    number = 0
    for query_id, judged in relevant.items():
        grades = judged if isinstance(judged, Mapping) else dict.fromkeys(judged, 1)
        for passage_id, relevance in grades.items():
            number += 1
            yield Judgement(query_id, passage_id, int(relevance), number)


@contextmanager
def _fetching(what: str, local_hint: str | None) -> Iterator[None]:
    try:
        yield
    except KalmRerankerError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        if _is_download(error):
            raise DatasetUnavailableError(
                f"{what} could not be downloaded: {reason}", hint=local_hint
            ) from error
        raise DataFileError(f"{what} could not be read: {reason}", hint=local_hint) from error


def _is_download(error: Exception) -> bool:
    """Tells whether fetching failed, rather than reading what was fetched.

    The datasets package raises a ValueError where it is offline and its cache lacks a part.
    """
    return (
        isinstance(error, OSError)
        or type(error).__module__.split(".")[0] in _DOWNLOADERS
        or "Couldn't find cache" in str(error)
    )
