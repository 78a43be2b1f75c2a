"""Labelled pairs for a calibration, from a file of a user's own or from a judged collection.

    pairs.jsonl     {"query": "...", "passage": "...", "label": 1}         or "document", "text"
                    optional: "query_id", "instruction"
                    {"margin": 3.2, "label": 0}                            scored before
    pairs.tsv       query <tab> passage <tab> label                        or margin <tab> label
                    or any columns of these names under a header

Each may be gzipped where its name ends in `.gz`. Labels are 0, 1, true or false.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kalm_reranker.calibration import CalibrationOrigin
from kalm_reranker.encoding.texts import check_query, check_text
from kalm_reranker.errors import DataFileError, KalmRerankerError, shown
from kalm_reranker.evaluation.calibration.calibrating import LabelledMargin
from kalm_reranker.evaluation.data.beir import load_beir
from kalm_reranker.lines import is_gzip, json_object, numbered_lines
from kalm_reranker.search.bm25 import BM25FirstStage
from kalm_reranker.search.ranking import ranked_ids

if TYPE_CHECKING:  # importing it costs torch
    from kalm_reranker.reranker import KaLMReranker

_PASSAGE_NAMES = ("passage", "document", "text")
_COLUMNS = {*_PASSAGE_NAMES, "query", "label", "query_id", "instruction", "margin"}
_LABELS = {"0": False, "1": True, "false": False, "true": True}
_UNNAMED_COLUMNS = {2: ("margin", "label"), 3: ("query", "passage", "label")}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPair:
    """A query and a passage that people judged.

    Attributes:
        group: The query's id, or its text where it has none.
        query: The query.
        passage: The passage.
        relevant: Whether it answers the query.
        instruction: Task instruction; None for the one that is given for all.
    """

    group: str
    query: str
    passage: str
    relevant: bool
    instruction: str | None = None


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """Labelled pairs from one place: texts that are still to be scored, or margins.

    Attributes:
        pairs: Texts; empty where there are margins.
        margins: Margins; empty where there are texts.
        notes: What is to be known of them, in words.
    """

    pairs: tuple[LabelledPair, ...] = ()
    margins: tuple[LabelledMargin, ...] = ()
    notes: tuple[str, ...] = ()


def read_labelled(
    location: Path, *, split: str = "test", candidates: int = 100, queries: int | None = None
) -> LabelledSet:
    """Returns the labelled pairs of a file, or of a directory in BEIR form.

    Args:
        location: The file or directory.
        split: Of a directory: which judgements.
        candidates: Of a directory: BM25's best passages for each query, which are the pairs.
        queries: Of a directory: take the first only; all, if None.

    Raises:
        DataFileError: It cannot be read; the message names file and line.
        MissingExtraError: A directory is given, and BM25 is not installed.
    """
    if location.is_dir():
        return _from_beir(location, split, candidates, queries)
    return _from_file(location)


def score_labelled(
    reranker: "KaLMReranker",
    pairs: Sequence[LabelledPair],
    instruction: str | None = None,
    *,
    show_progress: bool | None = None,
) -> tuple[list[LabelledMargin], CalibrationOrigin]:
    """Returns the margins of labelled pairs, and what a calibration has to say of them.

    Args:
        reranker: Scores them, at its own compression ratio.
        pairs: The pairs.
        instruction: For pairs without one of their own; the checkpoint's default, if None.
        show_progress: As in `KaLMReranker`.

    Returns:
        A margin for each pair, pairs of one instruction together.
    """
    default = reranker.default_instruction if instruction is None else instruction
    by_instruction: dict[str, list[LabelledPair]] = {}
    for pair in pairs:
        by_instruction.setdefault(pair.instruction or default, []).append(pair)
    margins = []
    for asked, alike in by_instruction.items():
        scored = reranker.predict(
            [(pair.query, pair.passage) for pair in alike],
            asked,
            return_margin=True,
            show_progress=show_progress,
        )
        margins += [
            LabelledMargin(pair.group, one.margin, pair.relevant)
            for pair, one in zip(alike, scored, strict=True)
        ]
    return margins, reranker.calibration_origin(list(by_instruction))


def _from_beir(folder: Path, split: str, candidates: int, queries: int | None) -> LabelledSet:
    """Takes candidates as they come up in use: what BM25 finds, relevant or not."""
    collection = load_beir(folder, split=split)
    if queries is not None:
        collection = collection.first_queries(queries)
    run = BM25FirstStage(collection.passages).search(collection.queries, candidates)
    pairs, num_unjudged = [], 0
    for query_id, found in run.items():
        judged = collection.qrels[query_id]
        for passage_id in ranked_ids(found):
            num_unjudged += passage_id not in judged
            pairs.append(
                LabelledPair(
                    group=query_id,
                    query=collection.queries[query_id],
                    passage=collection.passages[passage_id],
                    relevant=judged.get(passage_id, 0) > 0,
                )
            )
    notes = [
        f"pairs are BM25's best {candidates} of {len(collection.passages):,} passages for each of "
        f"{len(collection.queries):,} queries"
    ]
    if num_unjudged:
        notes.append(
            f"{num_unjudged:,} of {len(pairs):,} pairs were judged by nobody and count as not "
            "relevant: where some of them are, true precision is higher than what is shown"
        )
    return LabelledSet(pairs=tuple(pairs), notes=tuple(notes))


def _from_file(path: Path) -> LabelledSet:
    pairs: list[LabelledPair] = []
    margins: list[LabelledMargin] = []
    notes: list[str] = []
    num_grouped = 0
    for where, record in _records(path):
        relevant = _label(record.get("label"), where)
        group = record.get("query_id")
        if group is not None and type(group) not in (str, int):
            raise DataFileError(
                f'{where}: "query_id" must be a string or a number; got {shown(group)}.'
            )
        if "margin" in record:
            if pairs:
                raise _mixed(where)
            if group is None and record.get("query") is not None:
                group = record["query"]
            num_grouped += group is not None
            key = f"pair {len(margins)}" if group is None else f"query {group}"
            margins.append(LabelledMargin(key, _margin(record["margin"], where), relevant))
        else:
            if margins:
                raise _mixed(where)
            pairs.append(_pair(record, group, relevant, where))
    if not pairs and not margins:
        raise DataFileError(f"{path}: expected labelled pairs; there is none.")
    if num_grouped < len(margins):
        notes.append(
            f"{len(margins) - num_grouped:,} margins name no query (query_id): pairs of one query "
            "may be on both sides of the held-out measurement, which then flatters"
        )
    return LabelledSet(pairs=tuple(pairs), margins=tuple(margins), notes=tuple(notes))


def _mixed(where: str) -> DataFileError:
    return DataFileError(
        f"{where}: expected either texts or margins in all of the file; got both.",
        hint="Write two files.",
    )


def _pair(record: Mapping[str, Any], group: object, relevant: bool, where: str) -> LabelledPair:
    names = [name for name in _PASSAGE_NAMES if record.get(name) is not None]
    if len(names) != 1:
        raise DataFileError(
            f"{where}: expected one of {', '.join(_PASSAGE_NAMES)}; got "
            f"{', '.join(names) or 'none of them'}.",
            hint='Write {"query": "...", "passage": "...", "label": 1}.',
        )
    instruction = record.get("instruction") or None
    try:
        check_query(record.get("query"))
        passage = check_text(record[names[0]], names[0])
        if instruction is not None:
            check_text(instruction, "instruction")
    except KalmRerankerError as error:
        raise DataFileError(f"{where}: {error.message}", hint=error.hint) from error
    query = str(record["query"])
    return LabelledPair(
        group=query if group is None else str(group),
        query=query,
        passage=passage,
        relevant=relevant,
        instruction=instruction,
    )


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields (file and line, fields) of each line."""
    suffix = (path.with_suffix("") if is_gzip(path) else path).suffix.lower()
    if suffix not in (".jsonl", ".ndjson", ".tsv"):
        raise DataFileError(
            f"{path}: expected a name that ends in .jsonl, .ndjson or .tsv (or these with .gz), or "
            "a directory in BEIR form."
        )
    columns: tuple[str, ...] | None = None
    for number, line in numbered_lines(path):
        where = f"{path}, line {number}"
        if suffix != ".tsv":
            yield where, json_object(line, where)
            continue
        cells = tuple(line.split("\t"))
        if columns is None:
            names = tuple(cell.strip().lower() for cell in cells)
            if "label" in names:
                columns = _header(names, where)
                continue
            columns = _UNNAMED_COLUMNS.get(len(cells))
        if columns is None or len(cells) != len(columns):
            wanted = "2 or 3 columns" if columns is None else f"{len(columns)} columns"
            raise DataFileError(
                f"{where}: expected {wanted} ({', '.join(columns or ('query', 'passage', 'label'))}"
                f"), separated by tabs; got {len(cells)} in {shown(line)}.",
                hint="Texts must not hold tabs; JSON lines may.",
            )
        fields = zip(columns, cells, strict=True)
        # An empty cell is no value, but a passage may be empty.
        yield where, {name: cell for name, cell in fields if cell or name in _PASSAGE_NAMES}


def _header(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    unknown = sorted(set(names) - _COLUMNS)
    if unknown or len(set(names)) < len(names):
        raise DataFileError(
            f"{where}: expected each column once, of {', '.join(sorted(_COLUMNS))}; got "
            f"{', '.join(names)}."
        )
    return names


def _label(value: object, where: str) -> bool:
    """Returns the label; grades are refused, since where relevance begins is the user's to say."""
    known = _LABELS.get(str(value).strip().lower())
    if known is None or not isinstance(value, str | int):
        raise DataFileError(
            f'{where}: "label" must be 0, 1, true or false; got {shown(value)}.',
            hint="Of grades, write 1 for those that are relevant enough.",
        )
    return known


def _margin(value: object, where: str) -> float:
    try:
        margin = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        margin = math.nan
    if not math.isfinite(margin):
        raise DataFileError(f'{where}: "margin" must be a finite number; got {shown(value)}.')
    return margin
