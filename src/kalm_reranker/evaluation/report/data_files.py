"""The numbers as JSON and CSV, for programs and spreadsheets."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from kalm_reranker.evaluation.report.summary import measures_of
from kalm_reranker.evaluation.results import Comparison, Evaluation, OnlineCost

_RANKER_FIELDS = ("kind", "model", "compression_ratio", "codec", "coarse_ratio", "fine_count")


def results_json(evaluation: Evaluation) -> str:
    """Returns everything; numbers that JSON does not have (NaN, infinity) become null."""
    document = _finite(evaluation.as_dict())
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def results_csv(evaluation: Evaluation) -> str:
    """Returns a row for each set and ranker, with all measures in full precision."""
    measures = measures_of(evaluation)
    infos = {info.name: info for info in evaluation.rankers}
    queries = {dataset.name: dataset.num_queries for dataset in evaluation.datasets}
    header = ["dataset", "ranker", *_RANKER_FIELDS, "num_queries", *measures]
    rows = []
    for one in evaluation.measurements:
        info = infos.get(one.ranker)
        rows.append(
            [
                one.dataset,
                one.ranker,
                *(getattr(info, name, None) for name in _RANKER_FIELDS),
                queries.get(one.dataset),
                *(one.measures.get(name) for name in measures),
                one.bytes_per_passage,
                one.ms_per_query,
            ]
        )
    return _csv([*header, "bytes_per_passage", "ms_per_query"], rows)


def comparisons_csv(evaluation: Evaluation) -> str:
    """Returns a row for each comparison; the header alone without any."""
    return _records(Comparison, evaluation.comparisons)


def costs_csv(evaluation: Evaluation) -> str:
    """Returns a row for each online cost; the header alone without any."""
    return _records(OnlineCost, evaluation.costs)


def _records(kind: type[Any], rows: Iterable[Any]) -> str:
    return _csv([one.name for one in fields(kind)], [list(asdict(row).values()) for row in rows])


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_finite(value) for value in row] for row in rows)
    return file.getvalue()


def _finite(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
