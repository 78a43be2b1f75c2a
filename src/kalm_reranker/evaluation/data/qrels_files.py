"""Reads judgements from a file: three columns as in BEIR, four as in TREC, or JSON lines.

    query-id <tab> corpus-id <tab> score                        BEIR; a header line is optional
    query-id 0 corpus-id score                                  TREC; any white space between
    {"query-id": "...", "corpus-id": "...", "score": 1}         JSON lines

A relevance is a whole number, which may be written as a decimal (`1.0`): tables that went through a
data frame have that.
"""

from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path

from kalm_reranker.errors import DataFileError, shown
from kalm_reranker.evaluation.data.judgements import Judgement
from kalm_reranker.lines import json_object, numbered_lines

_JSON_FIELDS = ("query-id", "corpus-id", "score")


def read_judgements(path: Path) -> Iterator[Judgement]:
    """Yields the judgements of a file.

    Raises:
        DataFileError: A line is no judgement; the message names file and line.
    """
    if ".jsonl" in path.suffixes[-2:]:
        yield from _json_judgements(path)
        return
    split: Callable[[str], list[str]] | None = None
    for number, line in numbered_lines(path):
        if split is None:
            # The first line decides for the whole file: ids of BEIR's form may hold spaces.
            split = _trec_fields if _is_trec(line) else _tabbed_fields
            if len(split(line)) == 3 and not _is_number(split(line)[2]):
                continue  # the header
        fields = split(line)
        relevance = _relevance(fields[2]) if len(fields) == 3 else None
        if relevance is None or not fields[0] or not fields[1]:
            raise _no_judgement(path, number, line, trec=split is _trec_fields)
        yield Judgement(fields[0], fields[1], relevance, number)


def _is_trec(line: str) -> bool:
    return line.count("\t") != 2 and len(_trec_fields(line)) == 3


def _tabbed_fields(line: str) -> list[str]:
    return line.split("\t")


def _trec_fields(line: str) -> list[str]:
    """The four columns without the second, which has no meaning; anything else as no fields."""
    fields = line.split()
    return [fields[0], *fields[2:]] if len(fields) == 4 else []


def _json_judgements(path: Path) -> Iterator[Judgement]:
    for number, line in numbered_lines(path):
        record = json_object(line, f"{path}, line {number}")
        query_id, passage_id, score = (record.get(field) for field in _JSON_FIELDS)
        relevance = None if isinstance(score, bool) else _relevance(str(score))
        if not (isinstance(query_id, str) and isinstance(passage_id, str)) or relevance is None:
            raise DataFileError(
                f"{path}, line {number}: expected strings in query-id and corpus-id and a whole "
                f"number in score; got {shown(line)}.",
                hint='Write {"query-id": "1", "corpus-id": "2", "score": 1}.',
            )
        yield Judgement(query_id, passage_id, relevance, number)


def _relevance(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if isfinite(number) and number.is_integer() else None


def _is_number(text: str) -> bool:
    """Tells a judgement, even one that is to be refused, from a header's word."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _no_judgement(path: Path, number: int, line: str, *, trec: bool) -> DataFileError:
    if trec:
        return DataFileError(
            f"{path}, line {number}: expected query id, 0, passage id and an integer relevance, "
            f"as in the file's first line; got {shown(line)}.",
            hint="Write four columns on every line.",
        )
    return DataFileError(
        f"{path}, line {number}: expected query id, passage id and an integer relevance, "
        f"separated by tabs; got {shown(line)}.",
        hint="Write three columns on every line, or the four of TREC's files on every line.",
    )
