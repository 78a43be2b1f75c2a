"""The page: one HTML file that needs nothing but itself."""

import json
import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from typing import Any

from kalm_reranker.evaluation.report.comparisons import comparison_groups
from kalm_reranker.evaluation.report.figure import DrawnPlot
from kalm_reranker.evaluation.report.findings import findings
from kalm_reranker.evaluation.report.inline_svg import inline_svg
from kalm_reranker.evaluation.report.summary import (
    Summary,
    baseline_of,
    main_measure,
    measures_of,
)
from kalm_reranker.evaluation.report.tables import quality_table, ratio_table
from kalm_reranker.evaluation.report.wording import (
    MISSING,
    ROC_AUC,
    SIGNIFICANT,
    bytes_text,
    clean,
    kind_title,
    measure_title,
    ms_text,
    number_text,
    plural,
    quality_text,
)
from kalm_reranker.evaluation.results import Evaluation
from kalm_reranker.extras import import_extra
from kalm_reranker.machine import describe

_MANY_RANKERS = 7  # from here on printed pages lie on their side
_HAS_OWN_PLACE = ("command",)  # settings that are not in the list of settings


def title_of(evaluation: Evaluation) -> str:
    """Returns the report's title."""
    sets = evaluation.datasets
    where = sets[0].name if len(sets) == 1 else plural(len(sets), "set")
    return clean(f"Reranking quality on {where}")


def head_lines(evaluation: Evaluation) -> list[str]:
    """Returns what stands below the title: how much was compared, on what, and on which machine."""
    return [
        _counts(evaluation),
        f"Same candidates for every ranker: {clean(evaluation.first_stage)}",
        describe(evaluation.machine),
    ]


def render_page(
    evaluation: Evaluation, summaries: Sequence[Summary], drawn: Sequence[DrawnPlot]
) -> str:
    """Returns the page.

    Args:
        evaluation: What was found.
        summaries: Of its rankers.
        drawn: Its plots.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    jinja2 = import_extra("jinja2", extra="eval", purpose="Writing the report's page")
    here = files("kalm_reranker.evaluation.report")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(here.joinpath("page.html.jinja").read_text(encoding="utf-8"))
    markup = jinja2.utils.markupsafe.Markup
    plots = {one.plot.name: {"plot": one.plot, "svg": markup(inline_svg(one))} for one in drawn}
    text = template.render(
        css=markup(here.joinpath("page.css").read_text(encoding="utf-8")),
        plots=plots,
        **_content(evaluation, summaries),
    )
    return clean(text)


def _content(evaluation: Evaluation, summaries: Sequence[Summary]) -> dict[str, Any]:
    """Returns what the template shows, plots apart."""
    measure = main_measure(evaluation)
    quality_ratios = ratio_table(summaries, measure, "quality")
    auc_ratios = ratio_table(summaries, ROC_AUC, "roc_auc")
    return {
        "evaluation": evaluation,
        "title": title_of(evaluation),
        "counts": _counts(evaluation),
        "machine": describe(evaluation.machine),
        "findings": findings(evaluation, summaries),
        "tables": [quality_table(evaluation, one) for one in measures_of(evaluation)],
        "kinds": [
            (kind_title(kind), len(list(members)))
            for kind, members in groupby(one.kind for one in evaluation.rankers)
        ],
        "baseline": baseline_of(evaluation),
        "significant": SIGNIFICANT,
        "measure": measure_title(measure),
        "quality_ratios": quality_ratios,
        "auc_ratios": auc_ratios,
        "rankers": [_ranker_row(one) for one in summaries],
        "costs": [_cost_row(one) for one in evaluation.costs],
        "comparisons": comparison_groups(evaluation),
        "settings": _settings(evaluation.settings),
        "machine_rows": _settings(dict(evaluation.machine)),
        "command": _command(evaluation.settings.get("command")),
        "landscape": len(evaluation.rankers) > _MANY_RANKERS,
        "missing": MISSING,
    }


def _counts(evaluation: Evaluation) -> str:
    queries = sum(one.num_queries for one in evaluation.datasets)
    pairs = sum(one.num_candidates for one in evaluation.datasets)
    return (
        f"{plural(len(evaluation.rankers), 'ranker')}, "
        f"{plural(queries, 'query', 'queries')}, "
        f"{plural(pairs, 'pair')} of query and candidate"
    )


def _ranker_row(one: Summary) -> dict[str, Any]:
    info = one.info
    ratio = "" if info.compression_ratio is None else str(info.compression_ratio)
    if info.coarse_ratio is not None:
        ratio = f"{info.coarse_ratio} → {ratio or 'own'}"
        if info.fine_count is not None:
            ratio += f", top {info.fine_count}"
    return {
        "name": info.name,
        "kind": kind_title(info.kind),
        "model": info.model or MISSING,
        "ratio": ratio or MISSING,
        "codec": info.codec or MISSING,
        "quality": quality_text(one.quality),
        "bytes": bytes_text(one.num_bytes),
        "ms": ms_text(one.ms),
        "settings": _settings(info.settings),
    }


def _cost_row(one: Any) -> dict[str, str]:  # noqa: ANN401
    return {
        "dataset": one.dataset,
        "model": one.model,
        "way": one.way,
        "ratio": str(one.compression_ratio),
        "candidates": number_text(one.num_candidates),
        "passage": number_text(one.passage_tokens),
        "query": number_text(one.query_tokens),
        "ms": ms_text(one.measured_ms),
        "measured": number_text(one.measured),
        "analytic": number_text(one.analytic),
    }


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, _value_text(value))
        for name, value in settings.items()
        if name not in _HAS_OWN_PLACE and value is not None and value not in ("", [], (), {})
    ]


def _value_text(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(one, str | int) for one in value):
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False, default=str)


def _command(command: Any) -> str | None:  # noqa: ANN401
    if isinstance(command, list | tuple):
        return shlex.join(map(str, command))
    return str(command) if command else None
