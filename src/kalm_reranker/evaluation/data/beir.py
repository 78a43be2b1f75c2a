"""Reads a judged collection from a directory in BEIR form.

    corpus.jsonl          {"_id": "...", "title": "...", "text": "..."}   title may be absent
    queries.jsonl         {"_id": "...", "text": "..."}
    qrels/<split>.tsv     query-id <tab> corpus-id <tab> score            header line optional

Each file may be gzipped (`corpus.jsonl.gz`). Judgements may also be JSON lines with these three
fields (`qrels/<split>.jsonl`, as in copies of the benchmarks' repositories), or have the four
columns of TREC's files.

Source: the data format of the BEIR benchmark (Thakur et al., 2021).
"""

from collections.abc import Iterator
from pathlib import Path

from kalm_reranker.errors import DataFileError, shown
from kalm_reranker.evaluation.data.collection import Collection
from kalm_reranker.evaluation.data.judgements import judged_collection
from kalm_reranker.evaluation.data.qrels_files import read_judgements
from kalm_reranker.lines import existing_file, json_object, numbered_lines


def load_beir(
    directory: str | Path,
    *,
    split: str = "test",
    name: str | None = None,
    excludes_own_id: bool = False,
) -> Collection:
    """Returns the judged collection in a directory.

    Args:
        directory: Where the files are.
        split: Which judgements: `qrels/<split>.tsv`.
        name: What to call it; the directory's name by default.
        excludes_own_id: See `Collection`.

    Returns:
        Passages and queries in file order. A passage is its title, a space and its text, without
        surrounding white space; it may be empty, as some real ones are. What was left out is
        counted, and said in its notes.

    Raises:
        DataFileError: A file is missing, a line is not what it should be, or no query is left to
            measure anything on; the message names file and line.
    """
    directory = Path(directory)
    corpus_file = _required(directory / "corpus.jsonl")
    queries_file = _required(directory / "queries.jsonl")
    qrels_file = _qrels_file(directory / "qrels", split)
    passages, titles = read_passages(corpus_file)
    return judged_collection(
        read_judgements(qrels_file),
        name=directory.resolve().name if name is None else name,
        passages=passages,
        titles=titles,
        queries=read_queries(queries_file),
        source=str(qrels_file),
        excludes_own_id=excludes_own_id,
    )


def is_beir_directory(path: Path) -> bool:
    """Tells whether a folder holds the passages of a collection in BEIR form."""
    return existing_file(path / "corpus.jsonl") is not None


def read_passages(
    path: Path, *, id_field: str = "_id", lenient: bool = False
) -> tuple[dict[str, str], dict[str, str]]:
    """Returns (passage id -> title and text, passage id -> title), in file order.

    Args:
        path: The file.
        id_field: Where the id is.
        lenient: A line without a text is an empty passage, and whole numbers are ids too.

    Raises:
        DataFileError: A line is not what it should be, or there is none.
    """
    passages: dict[str, str] = {}
    titles: dict[str, str] = {}
    for passage_id, record, where in _records(path, id_field, lenient=lenient):
        title = _text(record, "title", where, optional=True)
        passages[passage_id] = f"{title} {_text(record, 'text', where, optional=lenient)}".strip()
        titles[passage_id] = title.strip()
    if not passages:
        raise DataFileError(
            f"{path}: expected a passage on each line; it has none.",
            hint="An empty corpus has nothing to be ranked.",
        )
    return passages, titles


def read_queries(path: Path, *, id_field: str = "_id", lenient: bool = False) -> dict[str, str]:
    """Returns query id -> text, in file order.

    Args:
        path: The file.
        id_field: Where the id is.
        lenient: Whole numbers are ids too.

    Raises:
        DataFileError: A line is not what it should be, or there is none.
    """
    queries = {
        query_id: _text(record, "text", where)
        for query_id, record, where in _records(path, id_field, lenient=lenient)
    }
    if not queries:
        raise DataFileError(
            f"{path}: expected a query on each line; it has none.",
            hint="Nothing can be measured without queries.",
        )
    return queries


def _qrels_file(folder: Path, split: str) -> Path:
    found = existing_file(folder / f"{split}.jsonl")
    if found is None or existing_file(folder / f"{split}.tsv") is not None:
        return _required(folder / f"{split}.tsv")
    return found


def _required(path: Path) -> Path:
    found = existing_file(path)
    if found is None:
        present = sorted(entry.name for entry in path.parent.glob("*"))[:10]
        raise DataFileError(
            f"{path} (or {path.name}.gz) does not exist; its folder holds "
            f"{', '.join(present) or 'nothing'}.",
            hint="A BEIR directory has corpus.jsonl, queries.jsonl and qrels/<split>.tsv.",
        )
    return found


def _records(
    path: Path, id_field: str, *, lenient: bool
) -> Iterator[tuple[str, dict[str, object], str]]:
    """Yields (id, JSON object, place for messages) of each line; ids are unique strings."""
    seen: dict[str, int] = {}
    for number, line in numbered_lines(path):
        where = f"{path}, line {number}"
        record = json_object(line, where)
        record_id = record.get(id_field)
        if lenient and type(record_id) is int:
            record_id = str(record_id)
        if not isinstance(record_id, str) or not record_id:
            raise DataFileError(
                f'{where}: expected a non-empty string in "{id_field}"; got {shown(record_id)}.',
                hint="Ids are strings, numbers too: write them in quotation marks.",
            )
        if record_id in seen:
            raise DataFileError(
                f"{where}: expected a new id; {record_id!r} was already on line {seen[record_id]}.",
                hint="Remove one of the two lines or give it another id.",
            )
        seen[record_id] = number
        yield record_id, record, where


def _text(record: dict[str, object], field: str, where: str, *, optional: bool = False) -> str:
    value = record.get(field)
    if value is None and optional:
        return ""
    if not isinstance(value, str):
        got = shown(value) if field in record else "no such field"
        raise DataFileError(
            f'{where}: expected a string in "{field}"; got {got}.',
            hint='Write {"_id": "1", "title": "...", "text": "..."}.',
        )
    return value
