"""Fits a calibration to labelled margins, and says how far it can be trusted."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, get_args

import numpy as np

from kalm_reranker.calibration import (
    Calibration,
    CalibrationData,
    CalibrationMethod,
    CalibrationOrigin,
)
from kalm_reranker.errors import CalibrationFitError, InputError, InvalidOptionError
from kalm_reranker.evaluation.calibration.fitting import fit, probabilities_of
from kalm_reranker.evaluation.calibration.reliability import ReliabilityBin, quality, reliability
from kalm_reranker.evaluation.calibration.thresholds import (
    lowest_margin,
    threshold_notes,
    threshold_of,
)

NUM_FOLDS = 5
FEWEST_PAIRS = 20
_FEW_OF_A_KIND = 30  # below it, a note: two digits of a probability are more than they can carry
_UNKNOWN_ORIGIN = CalibrationOrigin()


@dataclass(frozen=True, slots=True)
class LabelledMargin:
    """A margin and whether its pair is relevant.

    Attributes:
        group: The query: pairs of one are never on both sides of a held-out measurement.
        margin: yes logit - no logit.
        relevant: The label.
    """

    group: str
    margin: float
    relevant: bool


@dataclass(frozen=True, kw_only=True)
class CalibrationReport:
    """A calibration and what is to be known before it is used.

    Attributes:
        calibration: To be saved.
        reliability_raw: Of the model's own P(yes).
        reliability: Of held-out calibrated scores; of the fitted ones where nothing was held out.
        num_folds: Parts the queries were divided into; 0 where nothing was held out.
        notes: In words.
    """

    calibration: Calibration
    reliability_raw: tuple[ReliabilityBin, ...]
    reliability: tuple[ReliabilityBin, ...]
    num_folds: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON can hold it."""
        return asdict(self) | {"calibration": self.calibration.as_dict()}


def calibrate(
    pairs: Sequence[LabelledMargin],
    *,
    method: CalibrationMethod = "platt",
    precisions: Sequence[float] = (0.9,),
    origin: CalibrationOrigin = _UNKNOWN_ORIGIN,
    source: str = "",
    seed: int = 0,
) -> CalibrationReport:
    """Fits a calibration and chooses thresholds.

    The pairs' own share of relevant ones is taken as it is: give pairs as they come up in use,
    such as all candidates of a query, not as many relevant as irrelevant ones.

    Args:
        pairs: Labelled margins.
        method: "platt" (slope and intercept) or "temperature" (slope alone).
        precisions: To choose a threshold for, each above 0 and at most 1.
        origin: What the margins were computed with.
        source: Where the pairs came from, for the record.
        seed: Of the division into folds.

    Raises:
        CalibrationFitError: Fewer than 20 pairs, none relevant or all of them, or margins that do
            not rise with relevance.
        InputError: A margin is not finite.
        InvalidOptionError: The method or a precision is none.
    """
    if method not in get_args(CalibrationMethod):
        raise InvalidOptionError(
            f"method must be one of {', '.join(map(repr, get_args(CalibrationMethod)))}; got "
            f"{method!r}."
        )
    wanted = [_checked_precision(precision) for precision in dict.fromkeys(precisions)]
    margins, labels = _arrays(pairs)
    slope, intercept = fit(margins, labels, method)
    folds = _folds([pair.group for pair in pairs], seed)
    raw, fitted = probabilities_of(margins), probabilities_of(slope * margins + intercept)
    held_out, choices = _held_out(margins, labels, folds, method, wanted)
    num_queries = len({pair.group for pair in pairs})
    calibration = Calibration(
        method=method,
        slope=slope,
        intercept=intercept,
        origin=origin,
        data=CalibrationData(
            source=source,
            num_pairs=len(pairs),
            num_positives=int(labels.sum()),
            num_queries=num_queries,
        ),
        raw=quality(raw, labels),
        fitted=quality(fitted, labels),
        held_out=None if held_out is None else quality(held_out, labels),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    thresholds = tuple(
        threshold_of(calibration, margins, labels, precision, choices.get(precision))
        for precision in wanted
    )
    return CalibrationReport(
        calibration=replace(calibration, thresholds=thresholds),
        reliability_raw=reliability(raw, labels),
        reliability=reliability(fitted if held_out is None else held_out, labels),
        num_folds=0 if held_out is None else int(folds.max()) + 1,
        notes=(
            *_notes(labels, num_queries, held_out is not None),
            *threshold_notes(thresholds),
        ),
    )


def _arrays(pairs: Sequence[LabelledMargin]) -> tuple[np.ndarray, np.ndarray]:
    """Returns margins [N] float64 and labels [N] bool, if a calibration can be fitted to them."""
    for number, pair in enumerate(pairs):
        if not math.isfinite(pair.margin):
            raise InputError(f"pairs[{number}]: the margin must be finite; got {pair.margin!r}.")
    if len(pairs) < FEWEST_PAIRS:
        raise CalibrationFitError(
            f"A calibration needs at least {FEWEST_PAIRS} labelled pairs; got {len(pairs)}.",
            hint="A few hundred, of thirty queries or more, give a threshold worth having.",
        )
    labels = np.array([pair.relevant for pair in pairs])
    if labels.all() or not labels.any():
        kind = "relevant" if labels.all() else "irrelevant"
        raise CalibrationFitError(
            f"A calibration needs relevant and irrelevant pairs; all {len(pairs)} are {kind}.",
            hint="Give all candidates of each query, with label 0 where they do not answer it.",
        )
    return np.array([pair.margin for pair in pairs], dtype=np.float64), labels


def _folds(groups: Sequence[str], seed: int) -> np.ndarray:
    """Returns the fold of each pair, [N] int64: whole queries, in random order, in turn."""
    names = list(dict.fromkeys(groups))
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {names[index]: turn % NUM_FOLDS for turn, index in enumerate(order)}
    return np.array([fold_of[group] for group in groups])


def _held_out(
    margins: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    method: CalibrationMethod,
    wanted: Sequence[float],
) -> tuple[np.ndarray | None, dict[float, tuple[int, int]]]:
    """Returns each pair's probability by a calibration of the other folds, and threshold choices.

    The choices are (pairs taken, relevant among them) for each precision, each fold at the
    threshold of the others. None and nothing, where a fold leaves too little to the others.
    """
    probabilities = np.empty_like(margins)
    choices = {precision: (0, 0) for precision in wanted}
    for fold in range(int(folds.max()) + 1):
        inside = folds == fold
        others = labels[~inside]
        if not others.any() or others.all():
            return None, {}
        try:
            slope, intercept = fit(margins[~inside], others, method)
        except CalibrationFitError:
            return None, {}
        probabilities[inside] = probabilities_of(slope * margins[inside] + intercept)
        for precision in wanted:
            lowest, reached = lowest_margin(margins[~inside], others, precision)
            if reached:
                taken = inside & (margins >= lowest)
                count, hits = choices[precision]
                choices[precision] = (count + int(taken.sum()), hits + int(labels[taken].sum()))
    return probabilities, choices


def _notes(labels: np.ndarray, num_queries: int, is_held_out: bool) -> list[str]:
    notes = []
    positives = int(labels.sum())
    rarer, kind = min((positives, "relevant"), (len(labels) - positives, "irrelevant"))
    if rarer < _FEW_OF_A_KIND:
        notes.append(
            f"only {rarer} {kind} pairs: probabilities and thresholds are rough; more of them help "
            "more than anything else"
        )
    if not is_held_out:
        notes.append(
            f"nothing was held out: without a part of its {num_queries} queries, nothing can be "
            "fitted to the rest"
        )
    return notes


def _checked_precision(precision: float) -> float:
    if not 0 < precision <= 1:
        raise InvalidOptionError(f"precision must be above 0 and at most 1; got {precision!r}.")
    return float(precision)
