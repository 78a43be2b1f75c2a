"""Reads a judged collection from a directory in BEIR form.

    corpus.jsonl          {"_id": "...", "title": "...", "text": "..."}   title may be absent
    queries.jsonl         {"_id": "...", "text": "..."}
    qrels/<split>.tsv     query-id <tab> corpus-id <tab> score            header line optional

Each file may be gzipped (`corpus.jsonl.gz`).

Source: the data format of the BEIR benchmark (Thakur et al., 2021).
"""

from collections.abc import Iterator
from pathlib import Path

from kalm_reranker.errors import DataFileError, shown
from kalm_reranker.evaluation.collection import Collection, Qrels
from kalm_reranker.lines import existing_file, json_object, numbered_lines


def load_beir(directory: str | Path, *, split: str = "test", name: str | None = None) -> Collection:
    """Returns the judged collection in a directory.

    Args:
        directory: Where the files are.
        split: Which judgements: `qrels/<split>.tsv`.
        name: What to call it; the directory's name by default.

    Returns:
        Passages and queries in file order. A passage is its title, a space and its text, without
        surrounding white space; it may be empty, as some real ones are.

    Raises:
        DataFileError: A file is missing or a line is not what it should be; the message names
            file and line.
    """
    directory = Path(directory)
    corpus_file = _required(directory / "corpus.jsonl")
    queries_file = _required(directory / "queries.jsonl")
    qrels_file = _required(directory / "qrels" / f"{split}.tsv")

    passages: dict[str, str] = {}
    titles: dict[str, str] = {}
    for passage_id, record, where in _records(corpus_file):
        title = _text(record, "title", where, optional=True)
        passages[passage_id] = f"{title} {_text(record, 'text', where)}".strip()
        titles[passage_id] = title.strip()
    all_queries = {
        query_id: _text(record, "text", where) for query_id, record, where in _records(queries_file)
    }

    qrels, num_dangling = _read_qrels(qrels_file, all_queries, passages)
    queries = {
        query_id: text
        for query_id, text in all_queries.items()
        if any(relevance > 0 for relevance in qrels.get(query_id, {}).values())
    }
    return Collection(
        name=directory.resolve().name if name is None else name,
        passages=passages,
        queries=queries,
        qrels={query_id: qrels[query_id] for query_id in queries},
        titles=titles,
        num_dropped_queries=len(all_queries) - len(queries),
        num_dangling_judgements=num_dangling,
    )


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


def _records(path: Path) -> Iterator[tuple[str, dict[str, object], str]]:
    """Yields (id, JSON object, place for messages) of each line; ids are unique strings."""
    seen: dict[str, int] = {}
    for number, line in numbered_lines(path):
        where = f"{path}, line {number}"
        record = json_object(line, where)
        record_id = record.get("_id")
        if not isinstance(record_id, str) or not record_id:
            raise DataFileError(
                f'{where}: expected a non-empty string in "_id"; got {shown(record_id)}.',
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


def _read_qrels(path: Path, queries: dict[str, str], passages: dict[str, str]) -> tuple[Qrels, int]:
    """Returns the judgements of known queries and the number of judgements of unknown things."""
    qrels: Qrels = {}
    num_dangling = 0
    for number, line in numbered_lines(path):
        fields = line.split("\t")
        if number == 1 and len(fields) == 3 and not _is_integer(fields[2]):
            continue  # the header
        if len(fields) != 3 or not _is_integer(fields[2]):
            raise DataFileError(
                f"{path}, line {number}: expected query id, passage id and an integer relevance, "
                f"separated by tabs; got {shown(line)}.",
                hint="TREC files with four columns must lose their second column first.",
            )
        query_id, passage_id, relevance = fields[0], fields[1], int(fields[2])
        if query_id not in queries:
            num_dangling += 1
            continue
        if passage_id not in passages:
            num_dangling += 1
        judged = qrels.setdefault(query_id, {})
        if judged.get(passage_id, relevance) != relevance:
            raise DataFileError(
                f"{path}, line {number}: expected one judgement for query {query_id!r} and "
                f"passage {passage_id!r}; got {relevance} after {judged[passage_id]}.",
                hint="Keep the judgement that is right.",
            )
        judged[passage_id] = relevance
    return qrels, num_dangling


def _is_integer(text: str) -> bool:
    return text.strip().removeprefix("-").isdecimal()
