"""What an evaluation says, in a few sentences computed from its numbers."""

from collections.abc import Iterable, Mapping, Sequence

from kalm_reranker.evaluation.report.summary import (
    Summary,
    baseline_of,
    best,
    incomplete,
    main_measure,
    ratio_families,
)
from kalm_reranker.evaluation.report.wording import (
    SIGNIFICANT,
    bytes_text,
    difference_text,
    known,
    listed,
    measure_title,
    ms_text,
    p_text,
    plural,
    quality_text,
)
from kalm_reranker.evaluation.results import Comparison, Evaluation


def best_counts(evaluation: Evaluation, measure: str) -> dict[str, int]:
    """Returns on how many sets each ranker is the best, equal ones counted all."""
    counts = {info.name: 0 for info in evaluation.rankers}
    for dataset in evaluation.datasets:
        for name in best_names(row_values(evaluation, dataset.name, measure)):
            counts[name] += 1
    return counts


def best_names(values: Mapping[str, float | None]) -> set[str]:
    """Returns who is the best of a row; nobody where all are equal, or there is only one.

    Equal is what reads the same: differences behind the digits shown tell nothing.
    """
    shown = {name: float(quality_text(one)) for name, one in values.items() if one is not None}
    if len(set(shown.values())) < 2:
        return set()
    top = max(shown.values())
    return {name for name, value in shown.items() if value == top}


def row_values(evaluation: Evaluation, dataset: str, measure: str) -> dict[str, float | None]:
    """Returns a measure on one set by ranker; None where there is no number."""
    found: dict[str, float | None] = {}
    for info in evaluation.rankers:
        one = evaluation.find(dataset, info.name)
        found[info.name] = known(one.measures.get(measure)) if one is not None else None
    return found


def against(
    comparisons: Iterable[Comparison], ranker: str, baseline: str, measure: str
) -> list[Comparison]:
    """Returns the comparisons of one ranker with the baseline, in one measure."""
    wanted = (ranker, baseline, measure)
    return [one for one in comparisons if (one.ranker, one.baseline, one.measure) == wanted]


def verdicts(comparisons: Iterable[Comparison]) -> tuple[int, int, int]:
    """Returns how many sets are significantly better, significantly worse, and neither."""
    better = worse = neither = 0
    for one in comparisons:
        sure = one.p_value < SIGNIFICANT
        better += sure and one.difference > 0
        worse += sure and one.difference < 0
        neither += not sure or one.difference == 0
    return better, worse, neither


def findings(evaluation: Evaluation, summaries: Sequence[Summary]) -> list[str]:
    """Returns the sentences at the head of the report; none without a number."""
    measure = main_measure(evaluation)
    sentences = [
        _winner(evaluation, summaries, measure),
        _significance(evaluation, summaries, measure),
        *_compression(summaries, measure),
        _speed(evaluation),
        _missing(evaluation),
    ]
    return [one for one in sentences if one is not None]


def _winner(evaluation: Evaluation, summaries: Sequence[Summary], measure: str) -> str | None:
    top = best(summaries)
    if top is None or len(summaries) < 2:
        return None
    title, sets = measure_title(measure), len(evaluation.datasets)
    text = f"{top.info.name} has the highest "
    text += f"mean {title} over {sets} sets" if sets > 1 else f"{title}"
    text += f", {quality_text(top.quality)}"
    reference = _reference(evaluation, summaries)
    if reference is not None and reference is not top:
        difference = (top.quality or 0.0) - (reference.quality or 0.0)
        text += f" ({difference_text(difference)} against {reference.info.name})"
    if sets > 1:
        counts = best_counts(evaluation, measure)
        text += f", and is the best on {counts[top.info.name]} of them"
        most = max(counts, key=lambda name: counts[name])
        if counts[most] > counts[top.info.name]:
            text += f"; {most} is the best on {counts[most]}"
    return f"{text}."


def _reference(evaluation: Evaluation, summaries: Sequence[Summary]) -> Summary | None:
    """Returns the baseline, or without comparisons the first stage."""
    name = baseline_of(evaluation)
    for one in summaries:
        matches = one.info.name == name if name else one.info.kind == "first stage"
        if matches and one.quality is not None:
            return one
    return None


def _significance(evaluation: Evaluation, summaries: Sequence[Summary], measure: str) -> str | None:
    baseline, top = baseline_of(evaluation), best(summaries)
    if baseline is None or top is None or top.info.name == baseline:
        return None
    found = against(evaluation.comparisons, top.info.name, baseline, measure)
    if not found:
        return None
    better, worse, neither = verdicts(found)
    if len(found) == 1:
        word = "is significant" if better or worse else "could be chance"
        return (
            f"Its difference to {baseline} {word}: p {p_text(found[0].p_value)}, {found[0].test}."
        )
    words = [
        f"significantly better on {plural(better, 'set')}" if better else "",
        f"significantly worse on {plural(worse, 'set')}" if worse else "",
    ]
    text = f"it is {listed(filter(None, words))}" if better or worse else ""
    if neither:
        text += ("; " if text else "") + f"on {neither} the difference could be chance"
    return f"Against {baseline} {text} (p < {SIGNIFICANT}, {found[0].test})."


def _compression(summaries: Sequence[Summary], measure: str) -> list[str]:
    """Says what compression keeps, for the widest range of each kind (two families at most)."""
    found = []
    for family in ratio_families(summaries):
        members = [one for one in family.members if one.quality is not None]
        if len(members) < 2 or not members[0].quality:
            continue
        first, last = members[0], members[-1]
        share = 100 * (last.quality or 0.0) / members[0].quality
        text = (
            f"{family.label}: from {first.info.compression_ratio} to "
            f"{last.info.compression_ratio} tokens per slot it keeps {share:.0f}% of its "
            f"{measure_title(measure)}"
        )
        if first.num_bytes and last.num_bytes:
            text += (
                f", in {bytes_text(last.num_bytes)} instead of "
                f"{bytes_text(first.num_bytes)} a passage"
            )
        found.append(f"{text}.")
    return found[:2]


def _speed(evaluation: Evaluation) -> str | None:
    """Says what stored states save, of the model and ratio where that is most."""
    found = [
        one
        for one in evaluation.costs
        if one.way != "encoded" and one.measured is not None and 0 < one.measured < 1
    ]
    if not found:
        return None
    top = min(found, key=lambda one: one.measured or 1.0)
    where = f" on {top.dataset}" if len({one.dataset for one in evaluation.costs}) > 1 else ""
    return (
        f"With {_states(top.way)} {top.model} takes {ms_text(top.measured_ms)} a query at "
        f"{top.compression_ratio} tokens per slot{where}: {1 / (top.measured or 1.0):.1f} times "
        "faster than encoding the passages for each query."
    )


def _states(way: str) -> str:
    return {"stored": "stored states", "prefix cached": "cached prefixes"}.get(way, way)


def _missing(evaluation: Evaluation) -> str | None:
    names = incomplete(evaluation)
    if not names:
        return None
    shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} others"]
    word = "has no mean: it was" if len(names) == 1 else "have no means: they were"
    return f"{listed(shown)} {word} not run on every set."
