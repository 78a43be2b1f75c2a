"""How names and numbers are written, the same in page, plots and tables."""

import math
import re
from collections.abc import Iterable

NDCG = "nDCG@10"
ROC_AUC = "ROC-AUC"
MISSING = "–"  # noqa: RUF001
SIGNIFICANT = 0.05  # two-sided p-value below which a difference gets a mark

# In this order; others follow in the order they come.
_SHOWN = {NDCG: "nDCG@10", "RR@10": "MRR@10", "AP": "MAP", "R@100": "Recall@100", ROC_AUC: ROC_AUC}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def measure_title(measure: str) -> str:
    """Returns what readers call a measure: `AP` is MAP once it is a mean over queries."""
    return _SHOWN.get(measure, measure)


def kind_title(kind: str) -> str:
    """Returns what readers call a kind of ranker."""
    return "KaLM" if kind == "kalm" else kind


def in_order(measures: Iterable[str]) -> list[str]:
    """Returns distinct measures, the known ones first and in their order."""
    found = dict.fromkeys(measures)
    return [one for one in _SHOWN if one in found] + [one for one in found if one not in _SHOWN]


def known(value: float | None) -> float | None:
    """Returns a number, or None for one that is missing, NaN or infinite."""
    return value if value is not None and math.isfinite(value) else None


def quality_text(value: float | None) -> str:
    """Writes a measure with four digits, as tables of this field do."""
    return MISSING if known(value) is None else f"{value:.4f}"


def difference_text(value: float | None) -> str:
    """Writes a difference with its sign (a true minus) and four digits."""
    if value is None or known(value) is None:
        return MISSING
    text = f"{abs(value):.4f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "−") + text  # noqa: RUF001


def p_text(value: float) -> str:
    """Writes a p-value: three digits, and no more certainty than that."""
    if known(value) is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def bytes_text(value: float | None) -> str:
    """Writes a size with three digits, in thousands as the rest of the documentation has it."""
    if value is None or known(value) is None:
        return MISSING
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{_three(value)} {unit}"
        value /= 1e3
    return f"{_three(value)} GB"


def ms_text(value: float | None) -> str:
    """Writes milliseconds with three digits, or all before the point."""
    return MISSING if value is None or known(value) is None else f"{_three(value)} ms"


def number_text(value: float | None) -> str:
    """Writes any other number with three digits, or all before the point."""
    return MISSING if value is None or known(value) is None else _three(value)


def plural(count: int, noun: str, many: str | None = None) -> str:
    """Writes a count and its noun: `1 set`, `19 sets`, `2 queries`."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def listed(names: Iterable[str]) -> str:
    """Joins names as a sentence does."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def clean(text: str) -> str:
    """Replaces characters that XML cannot hold, so that any name can stand in a plot."""
    return _CONTROL.sub("�", text)


def shorten(text: str, width: int = 34) -> str:
    """Cuts the middle out of a long name: beginnings and ends tell models apart."""
    text = " ".join(clean(text).split())
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[-tail:]}"


def _three(value: float) -> str:
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    if abs(value) >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.9995 or value == 0 else f"{value:#.3g}"
