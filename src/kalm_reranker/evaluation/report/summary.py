"""Rankers over all sets, and families of them that differ by compression ratio alone."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kalm_reranker.evaluation.report.wording import NDCG, ROC_AUC, in_order, known
from kalm_reranker.evaluation.results import Evaluation, RankerInfo, RankerKind

_WITH_RATIOS: tuple[RankerKind, ...] = ("kalm", "blend")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One ranker over all sets, each with the same weight.

    Attributes:
        info: The ranker.
        quality: Mean of the main measure; None where a set is missing.
        roc_auc: Mean of ROC-AUC, likewise.
        num_bytes: Mean bytes per passage; None where nothing is stored, or a set is missing.
        ms: Mean over sets of the median milliseconds of a query, likewise.
    """

    info: RankerInfo
    quality: float | None
    roc_auc: float | None
    num_bytes: float | None
    ms: float | None


@dataclass(frozen=True, kw_only=True)
class Family:
    """Rankers of one kind, model and codec, by compression ratio.

    Attributes:
        label: What their names have in common.
        kind: Of all of them.
        model: Of all of them.
        codec: Of all of them.
        members: Ascending by ratio, at most one for each.
    """

    label: str
    kind: RankerKind
    model: str | None
    codec: str | None
    members: tuple[Summary, ...]


def measures_of(evaluation: Evaluation) -> list[str]:
    """Returns the measures of which there is at least one number, in the order of display."""
    return in_order(
        name
        for one in evaluation.measurements
        for name, value in one.measures.items()
        if known(value) is not None
    )


def main_measure(evaluation: Evaluation) -> str:
    """Returns nDCG@10, or where that was not computed the first measure that was."""
    measures = measures_of(evaluation)
    return measures[0] if measures else NDCG


def baseline_of(evaluation: Evaluation) -> str | None:
    """Returns the ranker that most comparisons are against; None without comparisons."""
    names = [one.baseline for one in evaluation.comparisons]
    return max(dict.fromkeys(names), key=names.count) if names else None


def summarize(evaluation: Evaluation) -> list[Summary]:
    """Returns every ranker's summary, in their order."""
    measure = main_measure(evaluation)
    return [
        Summary(
            info=info,
            quality=known(evaluation.mean(info.name, measure)),
            roc_auc=known(evaluation.mean(info.name, ROC_AUC)),
            num_bytes=evaluation.mean_of(info.name, lambda one: known(one.bytes_per_passage)),
            ms=evaluation.mean_of(info.name, lambda one: known(one.ms_per_query)),
        )
        for info in evaluation.rankers
    ]


def incomplete(evaluation: Evaluation) -> list[str]:
    """Returns the rankers that were not run on every set, and so have no mean."""
    sets = {dataset.name for dataset in evaluation.datasets}
    return [
        info.name
        for info in evaluation.rankers
        if sets - {one.dataset for one in evaluation.measurements if one.ranker == info.name}
    ]


def is_cascade(one: Summary) -> bool:
    """Says whether a ranker has two passes; blends of cascades have, too."""
    return one.info.kind == "cascade" or one.info.coarse_ratio is not None


def families(summaries: Iterable[Summary]) -> list[Family]:
    """Groups KaLM rankers and blends that differ by ratio alone, single ones included."""
    groups: dict[tuple[RankerKind, str | None, str | None], list[Summary]] = {}
    for one in summaries:
        info = one.info
        if info.kind not in _WITH_RATIOS or is_cascade(one):
            continue
        if info.compression_ratio is not None:
            groups.setdefault((info.kind, info.model, info.codec), []).append(one)
    found: list[Family] = []
    for members in groups.values():
        ratios = [one.info.compression_ratio for one in members]
        if len(set(ratios)) == len(ratios):
            found.append(_family(members))
            continue
        # They differ by something else, too (the weight of a blend, a dtype): names tell by what.
        parts: dict[str, list[Summary]] = {}
        for one in members:
            parts.setdefault(_without_ratio(one.info), []).append(one)
        for part in parts.values():
            numbers = [one.info.compression_ratio for one in part]
            unique = len(set(numbers)) == len(numbers)
            found += [_family(part)] if unique else [_family([one]) for one in part]
    return found


def ratio_families(summaries: Iterable[Summary]) -> list[Family]:
    """Returns the families with at least two ratios, the ones that make a curve."""
    return [one for one in families(summaries) if len(one.members) > 1]


def best(summaries: Iterable[Summary]) -> Summary | None:
    """Returns the ranker of the highest mean; of equal ones the first. None without a mean."""
    ranked = [one for one in summaries if one.quality is not None]
    return max(ranked, key=lambda one: one.quality or 0.0) if ranked else None


def _family(members: list[Summary]) -> Family:
    members = sorted(members, key=lambda one: one.info.compression_ratio or 0)
    info = members[0].info
    names = {_without_ratio(one.info) for one in members}
    if len(members) == 1:
        label = info.name
    elif len(names) == 1:
        label = names.pop()
    else:
        parts = [info.model or info.kind, info.codec, "blend" if info.kind == "blend" else None]
        label = ", ".join(part for part in parts if part)
    return Family(
        label=label,
        kind=info.kind,
        model=info.model,
        codec=info.codec,
        members=tuple(members),
    )


def _without_ratio(info: RankerInfo) -> str:
    """Returns a ranker's name without `r=4` or the like, for what a family is called."""
    text = re.sub(rf"\W*\b(?:ratio|r)\s*=?\s*{info.compression_ratio}\b", "", info.name)
    return " ".join(text.split()) or info.name
