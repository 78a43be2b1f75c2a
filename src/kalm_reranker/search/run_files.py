"""Files of other people's tools: runs in TREC form, queries, and candidates to rerank.

    run.trec           q1 Q0 doc7 1 12.5 tag                        one candidate on a line
    queries.jsonl      {"_id": "q1", "text": "..."}                 or "id", "query"
    queries.tsv        q1 <tab> ...
    candidates.jsonl   {"query_id": "q1", "query": "...", "candidates": ["doc7", ...]}
                       or, with scores, [{"id": "doc7", "score": 1.2}, ...]

Each may be gzipped where its name ends in `.gz`.
"""

import gzip
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, cast

from kalm_reranker.errors import DataFileError, InputError, shown
from kalm_reranker.lines import json_object, numbered_lines
from kalm_reranker.search.ranking import Run, ranked_ids

# White space of the format; ids may hold other kinds, such as an ideographic space.
_SEPARATOR = re.compile(r"[ \t\f\v]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateList:
    """A query with the passages to rerank for it.

    Args:
        query_id: The query's id.
        query: Its text.
        ids: The candidates' ids, in the order of the file.
        scores: Id -> first-stage score; None where the file has none.
    """

    query_id: str
    query: str
    ids: tuple[str, ...]
    scores: Mapping[str, float] | None


def read_trec_run(path: Path) -> Run:
    """Returns the run in a file of the TREC form.

    Ranks and tags are not used: scores alone make the order (`ranked_ids`).

    Raises:
        DataFileError: A line has not six columns, a score is no finite number, or a query has
            the same passage twice; the message names file and line.
    """
    run: Run = {}
    for number, line in numbered_lines(path):
        where = f"{path}, line {number}"
        columns = _SEPARATOR.split(line.strip(" \t\f\v"))
        if len(columns) != 6:
            raise DataFileError(
                f"{where}: expected six columns (query id, Q0, passage id, rank, score, tag); got "
                f"{len(columns)} in {shown(line)}.",
                hint="Columns are separated by white space; ids must not hold any.",
            )
        query_id, _, passage_id, _, score, _ = columns
        candidates = run.setdefault(query_id, {})
        if passage_id in candidates:
            raise DataFileError(
                f"{where}: expected each passage once for a query; {passage_id!r} came before for "
                f"query {query_id!r}.",
                hint="Keep the line with the score that is right.",
            )
        candidates[passage_id] = _score(score, where)
    return run


def write_trec_run(run: Run, path_or_file: Path | TextIO, tag: str = "kalm-reranker") -> None:
    """Writes a run in the TREC form: queries in the order of the run, candidates best first.

    Scores are written in full, so that reading gives the same run back.

    Args:
        run: Query id -> passage id -> score.
        path_or_file: A path, whose file is replaced, or a text file open for writing.
        tag: The name of the run, without white space.

    Raises:
        InputError: An id or the tag is empty or holds white space, or a score is not finite.
            Nothing was written then.
        DataFileError: The file cannot be written.
    """
    check_word(tag, "tag")
    for query_id, scores in run.items():
        check_word(query_id, "query id")
        for passage_id, score in scores.items():
            check_word(passage_id, "passage id")
            if not math.isfinite(score):
                raise InputError(
                    f"score of passage {passage_id!r} for query {query_id!r} must be a finite "
                    f"number; got {score!r}."
                )
    with _opened_for_writing(path_or_file) as file:
        for query_id, scores in run.items():
            for rank, passage_id in enumerate(ranked_ids(scores), start=1):
                score = float(scores[passage_id])
                file.write(f"{query_id} Q0 {passage_id} {rank} {score!r} {tag}\n")


_QUERY_HEADINGS = ("text", "query")


def read_queries(path: Path) -> dict[str, str]:
    """Returns query id -> text, in file order, of a JSONL or TSV file.

    A file whose name ends in `.tsv` or `.txt` (or these with `.gz`) has lines of id, tab, text;
    any other one has JSON objects with "_id" or "id", and "text" or "query".

    The first line of a table may be a header, which ends in "text" or "query".

    Raises:
        DataFileError: A line is not that, or an id comes twice; the message names file and line.
    """
    is_table = any(suffix.lower() in (".tsv", ".txt") for suffix in path.suffixes[-2:])
    queries: dict[str, str] = {}
    for number, line in numbered_lines(path):
        where = f"{path}, line {number}"
        query_id, text = _table_query(line, where) if is_table else _json_query(line, where)
        if is_table and number == 1 and text.strip().lower() in _QUERY_HEADINGS:
            continue
        if query_id in queries:
            raise DataFileError(
                f"{where}: expected a new id; {query_id!r} came before.",
                hint="Remove one of the two lines or give it another id.",
            )
        queries[query_id] = text
    return queries


def read_candidates_jsonl(path: Path) -> list[CandidateList]:
    """Returns the queries and candidates of a JSONL file, in file order.

    Raises:
        DataFileError: A line is not as described above, a query id comes twice, or a query has
            the same candidate twice, or scores for some of them only; the message names file and
            line.
    """
    lists: dict[str, CandidateList] = {}
    for number, line in numbered_lines(path):
        where = f"{path}, line {number}"
        record = json_object(line, where)
        query_id = _text(record, ("query_id",), where)
        if query_id in lists:
            raise DataFileError(
                f"{where}: expected a new query id; {query_id!r} came before.",
                hint="Write all candidates of a query on one line.",
            )
        query = _text(record, ("query",), where)
        ids, scores = _candidates(record.get("candidates"), where)
        lists[query_id] = CandidateList(query_id=query_id, query=query, ids=ids, scores=scores)
    return list(lists.values())


def _candidates(value: object, where: str) -> tuple[tuple[str, ...], dict[str, float] | None]:
    if not isinstance(value, list):
        raise DataFileError(
            f'{where}: expected a list in "candidates"; got {shown(value)}.',
            hint='Write ["id", ...] or [{"id": "...", "score": 1.2}, ...].',
        )
    scores: dict[str, float | None] = {}
    for item in value:
        if isinstance(item, dict):
            passage_id = _text(item, ("id",), where)
            score = None if item.get("score") is None else _score(item["score"], where)
        else:
            passage_id, score = _text({"id": item}, ("id",), where), None
        if passage_id in scores:
            raise DataFileError(f"{where}: expected each candidate once; got {passage_id!r} twice.")
        scores[passage_id] = score
    ids = tuple(scores)
    with_score = {key: score for key, score in scores.items() if score is not None}
    if not with_score:
        return ids, None
    if len(with_score) < len(ids):
        missing = next(key for key in ids if key not in with_score)
        raise DataFileError(
            f"{where}: expected a score for every candidate or for none; {missing!r} has none."
        )
    return ids, with_score


def _json_query(line: str, where: str) -> tuple[str, str]:
    record = json_object(line, where)
    return _text(record, ("_id", "id"), where), _text(record, ("text", "query"), where)


def _table_query(line: str, where: str) -> tuple[str, str]:
    query_id, tab, text = line.partition("\t")
    if not tab or not query_id or not text.strip():
        raise DataFileError(
            f"{where}: expected query id, tab and text; got {shown(line)}.",
            hint="Files of JSON objects are read as such where their name ends in .jsonl.",
        )
    return query_id, text


def _text(record: Mapping[str, object], fields: tuple[str, ...], where: str) -> str:
    """Returns the non-empty string in the first of these fields that is there."""
    field = next((field for field in fields if field in record), None)
    value = None if field is None else record[field]
    if not isinstance(value, str) or not value.strip():
        names = " or ".join(f'"{name}"' for name in fields)
        got = "no such field" if field is None else shown(value)
        raise DataFileError(
            f"{where}: expected a non-empty string in {names}; got {got}.",
            hint="Ids are strings, numbers too: write them in quotation marks.",
        )
    return value


def _score(value: object, where: str) -> float:
    try:
        # bool is a number to Python; as a score it is a mistake.
        score = math.nan if isinstance(value, bool) else float(cast("str", value))
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise DataFileError(
            f"{where}: expected a finite number as score; got {shown(value)}.",
            hint="Look for the step that produced it.",
        )
    return score


def check_word(value: str, what: str) -> None:
    """Refuses what cannot stand in a column of a TREC file.

    Raises:
        InputError: It is empty or holds white space.
    """
    if not isinstance(value, str) or not value or any(char.isspace() for char in value):
        raise InputError(
            f"{what} must be a word without white space to stand in a TREC file; got "
            f"{shown(value)}.",
            hint="Write the run as JSON, or give it another id.",
        )


@contextmanager
def _opened_for_writing(path_or_file: Path | TextIO) -> Iterator[TextIO]:
    if not isinstance(path_or_file, Path):
        yield path_or_file
        return
    opener = gzip.open if path_or_file.suffix == ".gz" else open
    try:
        with opener(path_or_file, "wt", encoding="utf-8", newline="\n") as file:
            yield cast("TextIO", file)
    except OSError as error:
        raise DataFileError(
            f"{path_or_file} cannot be written: {error.strerror or error}.",
            hint="Check the path, its permissions and the free space.",
        ) from error
