"""Judged collections of the `ir_datasets` package, by its ids."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kalm_reranker.errors import (
    DataFileError,
    DatasetUnavailableError,
    InvalidOptionError,
    KalmRerankerError,
)
from kalm_reranker.evaluation.data.benchmarks import did_you_mean
from kalm_reranker.evaluation.data.collection import Collection
from kalm_reranker.evaluation.data.judgements import Judgement, judged_collection
from kalm_reranker.extras import import_extra

# Fields of documents that have no text of their own making (`default_text`), in reading order.
_TEXT_FIELDS = ("title", "headline", "abstract", "text", "body", "contents", "main_content")
_QUERY_FIELDS = ("text", "query", "title")
_MAX_LISTED = 10
_PURPOSE = "Reading ir_datasets collections"


def check_ir_dataset(dataset_id: str) -> None:
    """Checks that an id names documents with queries and judgements; nothing is downloaded.

    Raises:
        InvalidOptionError: There is no such id, or it lacks one of the three.
        MissingExtraError: ir_datasets is not installed.
    """
    _judged_dataset(dataset_id)


def load_ir_dataset(dataset_id: str, *, name: str) -> Collection:
    """Returns the judged collection of an `ir_datasets` id.

    Args:
        dataset_id: For example `beir/scifact/test`.
        name: What to call it.

    Returns:
        Its passages as ir_datasets' own default text (title, then text, ...) where they have one,
        else their text fields, one after the other.

    Raises:
        InvalidOptionError: There is no such id, or it has no documents, queries or judgements.
        DatasetUnavailableError: Its data could not be downloaded.
        DataFileError: Its data are not what they should be.
        MissingExtraError: ir_datasets is not installed.
    """
    dataset = _judged_dataset(dataset_id)
    passages: dict[str, str] = {}
    titles: dict[str, str] = {}
    with _fetching(dataset_id):
        for document in dataset.docs_iter():
            passage_id = str(document.doc_id)
            if passage_id in passages:
                raise DataFileError(f"{dataset_id}: two documents have the id {passage_id!r}.")
            passages[passage_id] = _text(document, _TEXT_FIELDS)
            titles[passage_id] = _text_field(document, "title")
        queries = {
            str(query.query_id): _text(query, _QUERY_FIELDS) for query in dataset.queries_iter()
        }
        judgements = list(_judgements(dataset.qrels_iter()))
    return judged_collection(
        judgements,
        name=name,
        passages=passages,
        titles=titles,
        queries=queries,
        source=f"the judgements of {dataset_id}",
        place="judgement {}".format,
    )


def _judged_dataset(dataset_id: str) -> Any:  # noqa: ANN401
    ir_datasets = import_extra("ir_datasets", extra="eval", purpose=_PURPOSE)
    try:
        dataset = ir_datasets.load(dataset_id)
    except KeyError as error:
        raise InvalidOptionError(
            f"ir_datasets has no dataset {dataset_id!r}.",
            hint=did_you_mean(dataset_id, ir_datasets.registry) or "Its ids: ir-datasets.com.",
        ) from error
    missing = [
        what
        for what, is_there in (
            ("documents", dataset.has_docs()),
            ("queries", dataset.has_queries()),
            ("judgements", dataset.has_qrels()),
        )
        if not is_there
    ]
    if missing:
        judged = _judged_below(ir_datasets, dataset_id)
        raise InvalidOptionError(
            f"irds:{dataset_id} has no {' and no '.join(missing)}.",
            hint=f"These have: {', '.join(judged)}." if judged else None,
        )
    return dataset


def _judged_below(ir_datasets: Any, dataset_id: str) -> list[str]:  # noqa: ANN401
    """Returns the first ids of subsets that have judgements."""
    found = []
    for other in sorted(ir_datasets.registry):
        if other.startswith(f"{dataset_id}/") and ir_datasets.load(other).has_qrels():
            found.append(f"irds:{other}")
            if len(found) == _MAX_LISTED:
                break
    return found


def _judgements(qrels: Iterable[Any]) -> Iterator[Judgement]:
    for number, qrel in enumerate(qrels, start=1):
        yield Judgement(str(qrel.query_id), str(qrel.doc_id), int(qrel.relevance), number)


def _text(record: Any, fields: Iterable[str]) -> str:  # noqa: ANN401
    if hasattr(record, "default_text"):
        return str(record.default_text()).strip()
    parts = (_text_field(record, field) for field in fields)
    return " ".join(part for part in parts if part)


def _text_field(record: Any, field: str) -> str:  # noqa: ANN401
    value = getattr(record, field, None)
    return value.strip() if isinstance(value, str) else ""


@contextmanager
def _fetching(dataset_id: str) -> Iterator[None]:
    """Turns what a failed download, and what broken data raise, into one error each."""
    try:
        yield
    except KalmRerankerError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        if _is_download(error):
            raise DatasetUnavailableError(
                f"irds:{dataset_id} could not be downloaded: {reason}",
                hint="Copy the folder of IR_DATASETS_HOME (~/.ir_datasets) from a machine that "
                "has it, or give a directory in BEIR form.",
            ) from error
        raise DataFileError(
            f"irds:{dataset_id} could not be read: {reason}",
            hint="Remove its files in IR_DATASETS_HOME (~/.ir_datasets) to download them again.",
        ) from error


def _is_download(error: Exception) -> bool:
    """Tells whether fetching failed, rather than reading what was fetched.

    requests' errors and missing files are OSErrors. Where all mirrors failed, ir_datasets raises a
    bare RuntimeError, which it does for malformed lines as well.
    """
    return isinstance(error, OSError) or "download" in str(error)
