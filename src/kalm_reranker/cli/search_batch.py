"""Many queries from a file, their results as JSON lines or as a TREC run."""

import io
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from kalm_reranker.cli.options import report_left_out
from kalm_reranker.errors import InvalidOptionError, KalmRerankerError, StoreWriteError, shown
from kalm_reranker.progress import progress_bar
from kalm_reranker.search.ranking import Run, ranked_ids
from kalm_reranker.search.run_files import (
    check_word,
    read_candidates_jsonl,
    read_queries,
    read_trec_run,
    write_trec_run,
)

if TYPE_CHECKING:
    from kalm_reranker.index.passage_index import PassageIndex
    from kalm_reranker.search.results import SearchResults

_TREC_TAG = "kalm"
_MOST_NOTES = 10


def search_all(
    index: "PassageIndex",
    queries: Path | None,
    candidates: Path | None,
    *,
    settings: dict[str, Any],
    first_stage: dict[str, Any],
    output: Path | None,
    trec: bool,
    min_score: float = 0.0,
) -> None:
    """Answers every query of a file and writes the results.

    Args:
        index: The index.
        queries: Queries; None where the candidates bring them.
        candidates: A TREC run or JSON lines of candidates; None for the index's first stage.
        settings: Arguments of `search` and `rerank` alike.
        first_stage: Arguments of `search` alone.
        output: Where to write; stdout, if None.
        trec: A TREC run instead of JSON lines.
        min_score: Results with a smaller score are left out.
    """
    jobs = _jobs(queries, candidates)
    damaged = left_out = total = 0
    notes: Counter[str] = Counter()
    run: Run = {}
    if trec:  # before the work, not after it
        for job in jobs:
            check_word(job.query_id, "query id")
    with (
        _writing(output) as file,
        progress_bar(len(jobs), label="search", unit="queries", show=None) as on_progress,
    ):
        for job in jobs:
            if job.ids is None:
                results = index.search(job.query, **settings, **first_stage)
            else:
                given: Sequence[str] | Mapping[str, float] = (
                    job.ids if job.scores is None else job.scores
                )
                results = index.rerank(job.query, given, missing_ok=True, **settings)
            found, results = len(results), results.at_least(min_score)
            total, left_out = total + found, left_out + found - len(results)
            damaged += len(results.damaged)
            notes.update(results.notes)
            if trec:
                for result in results:
                    check_word(result.id, "passage id")
                # Ranks as numbers: scores of two ratios are not comparable, and a run has one.
                run[job.query_id] = {r.id: float(len(results) - r.rank + 1) for r in results}
            else:
                _write_lines(file, job.query_id, results)
            on_progress(1)
        if trec:
            write_trec_run(run, file, _TREC_TAG)
    for note, count in notes.most_common(_MOST_NOTES):
        typer.echo(f"note: {note} ({count} of {len(jobs)} queries)", err=True)
    if len(notes) > _MOST_NOTES:
        typer.echo(f"note: and {len(notes) - _MOST_NOTES} other notes", err=True)
    report_left_out(left_out, total, min_score)
    if damaged:
        typer.echo(
            f"note: {damaged} candidates are damaged and were left out; see `kalm index verify`",
            err=True,
        )


@dataclass(frozen=True, slots=True)
class _Job:
    query_id: str
    query: str
    ids: Sequence[str] | None  # None: the first stage finds them
    scores: Mapping[str, float] | None


def _jobs(queries: Path | None, candidates: Path | None) -> list[_Job]:
    if candidates is None:
        assert queries is not None  # the command saw to it
        return [
            _Job(query_id, text, None, None) for query_id, text in read_queries(queries).items()
        ]
    if candidates.name.removesuffix(".gz").endswith((".jsonl", ".ndjson")):
        if queries is not None:
            raise InvalidOptionError(
                "--queries and --rerank exclude each other where the candidates are JSON lines, "
                "which hold their queries.",
                hint="Leave --queries out.",
            )
        return [
            _Job(given.query_id, given.query, given.ids, given.scores)
            for given in read_candidates_jsonl(candidates)
        ]
    if queries is None:
        raise InvalidOptionError(
            "A TREC run names its queries by id only.", hint="Add their texts with --queries FILE."
        )
    run = read_trec_run(candidates)
    texts = read_queries(queries)
    unknown = sorted(run.keys() - texts.keys())
    if unknown:
        raise InvalidOptionError(
            f"{len(unknown)} queries of {candidates} are not in {queries}; the first is "
            f"{shown(unknown[0])}."
        )
    return [
        _Job(query_id, texts[query_id], ranked_ids(scores), scores)
        for query_id, scores in run.items()
    ]


def _write_lines(file: TextIO, query_id: str, results: "SearchResults") -> None:
    for result in results:
        record = {"query_id": query_id} | result.as_dict()
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


@contextmanager
def _writing(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # a file's contents, whatever the locale
        yield sys.stdout
        return
    try:
        with output.open("w", encoding="utf-8") as file:
            yield file
    except KalmRerankerError:  # of a search; some are OSErrors, too
        raise
    except OSError as error:
        raise StoreWriteError(
            f"{output} cannot be written: {error.strerror or error}.",
            hint="Check the path, its permissions and the free space.",
        ) from error
