"""Fits a calibration to labelled margins, and says how far it can be trusted.

Source: Platt scaling with smoothed targets (Platt, 1999; Lin, Lin and Weng, 2007); temperature
scaling (Guo et al., 2017), for one margin in place of many logits.
"""

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
    CalibrationQuality,
    Threshold,
)
from kalm_reranker.errors import CalibrationFitError, InputError, InvalidOptionError

NUM_BINS = 10
NUM_FOLDS = 5
FEWEST_PAIRS = 20
_FEW_OF_A_KIND = 30  # below it, a note: two digits of a probability are more than they can carry
_FEW_TAKEN = 20  # pairs above a threshold: below it, the interval is wider than a third
_Z95 = 1.959964  # two-sided 95% of a normal distribution
_MOST_STEPS = 100  # Newton takes about ten
# Of the mean loss: larger than its rounding, and one more step then leaves no error to speak of,
# since each squares it.
_SMALLEST_DECREASE = 1e-12
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
class ReliabilityBin:
    """Pairs whose probability lies in one tenth of [0, 1].

    Attributes:
        low: Lower end.
        high: Upper end.
        num_pairs: How many.
        mean_score: Mean probability; None where there is no pair.
        relevant: Share of relevant pairs; None where there is no pair.
    """

    low: float
    high: float
    num_pairs: int
    mean_score: float | None
    relevant: float | None


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
    raw, fitted = _probabilities(margins), _probabilities(slope * margins + intercept)
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
        _threshold(calibration, margins, labels, precision, choices.get(precision))
        for precision in wanted
    )
    return CalibrationReport(
        calibration=replace(calibration, thresholds=thresholds),
        reliability_raw=reliability(raw, labels),
        reliability=reliability(fitted if held_out is None else held_out, labels),
        num_folds=0 if held_out is None else int(folds.max()) + 1,
        notes=(
            *_notes(labels, num_queries, held_out is not None),
            *_threshold_notes(thresholds),
        ),
    )


def fit(margins: np.ndarray, labels: np.ndarray, method: CalibrationMethod) -> tuple[float, float]:
    """Returns slope and intercept of largest likelihood.

    The targets are Platt's, (n + 1) / (n + 2) and 1 / (n + 2) in place of 1 and 0: they keep the
    slope finite where one margin divides both kinds without error.

    Args:
        margins: [N] float64, finite.
        labels: [N] bool; some True, some False.
        method: For "temperature" the intercept is 0.

    Raises:
        CalibrationFitError: All margins are equal, or they do not rise with relevance.
    """
    if margins.min() == margins.max():
        raise CalibrationFitError(
            f"All {len(margins)} margins are {margins[0]!r}; nothing can be fitted to them.",
            hint="Check the texts of the pairs, or the column of margins.",
        )
    positives = int(labels.sum())
    high, low = (positives + 1) / (positives + 2), 1 / (len(labels) - positives + 2)
    targets = np.where(labels, high, low)
    # Centered and scaled, the Hessian is well conditioned whatever the margins' unit is.
    scale = float(margins.std()) if method == "platt" else float(np.abs(margins).max())
    center = float(margins.mean()) if method == "platt" else 0.0
    columns = [(margins - center) / scale]
    if method == "platt":
        columns.append(np.ones_like(margins))
    weights = _newton(np.stack(columns, axis=1), targets)
    slope = float(weights[0]) / scale
    intercept = float(weights[1]) - slope * center if method == "platt" else 0.0
    if not slope > 0:
        raise CalibrationFitError(
            f"The margins do not rise with relevance: the best slope is {slope:.3g}. A calibration "
            "must not turn the order of passages around.",
            hint="Check that labels are 1 for relevant pairs, and that the model suits the task.",
        )
    return slope, intercept


def quality(probabilities: np.ndarray, labels: np.ndarray) -> CalibrationQuality:
    """Returns log loss, Brier score and expected calibration error.

    Args:
        probabilities: [N] float64; 0 and 1 are taken as the nearest number inside, for the log.
        labels: [N] bool.
    """
    smallest = np.finfo(np.float64).tiny
    of_label = np.where(labels, probabilities, 1 - probabilities)
    bins = reliability(probabilities, labels)
    gaps = [
        one.num_pairs * abs(one.mean_score - one.relevant)
        for one in bins
        if one.mean_score is not None and one.relevant is not None
    ]
    return CalibrationQuality(
        log_loss=float(-np.log(np.maximum(of_label, smallest)).mean()),
        brier=float(np.square(probabilities - labels).mean()),
        ece=float(sum(gaps) / len(labels)),
    )


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> tuple[ReliabilityBin, ...]:
    """Returns ten equal bins of [0, 1] with the share of relevant pairs in each.

    Args:
        probabilities: [N] float64.
        labels: [N] bool.
    """
    place = np.minimum((probabilities * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    bins = []
    for number in range(NUM_BINS):
        inside = place == number
        count = int(inside.sum())
        bins.append(
            ReliabilityBin(
                low=number / NUM_BINS,
                high=(number + 1) / NUM_BINS,
                num_pairs=count,
                mean_score=float(probabilities[inside].mean()) if count else None,
                relevant=float(labels[inside].mean()) if count else None,
            )
        )
    return tuple(bins)


def wilson_low(hits: int, total: int) -> float:
    """Returns the lower end of the 95% interval of a share (Wilson's score interval)."""
    share, square = hits / total, _Z95**2
    middle = share + square / (2 * total)
    spread = _Z95 * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return max(0.0, (middle - spread) / (1 + square / total))


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


def _newton(columns: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns the weights of largest likelihood by damped Newton steps; the problem is convex.

    Args:
        columns: [N, K] float64.
        targets: [N] float64, inside (0, 1), so that there is such a point.

    Raises:
        CalibrationFitError: It was not found.
    """
    weights = np.zeros(columns.shape[1])

    def loss(at: np.ndarray) -> float:
        logits = columns @ at
        return float((np.logaddexp(0.0, logits) - targets * logits).mean())

    current = loss(weights)
    for _ in range(_MOST_STEPS):
        share = _probabilities(columns @ weights)
        gradient = columns.T @ (share - targets) / len(targets)
        curvature = columns.T @ (columns * (share * (1 - share))[:, None]) / len(targets)
        step = np.linalg.solve(curvature, gradient)
        decrease = float(gradient @ step)
        if decrease <= _SMALLEST_DECREASE:
            return np.asarray(weights - step)
        size = 1.0
        while (following := loss(weights - size * step)) > current - size * decrease / 4:
            size /= 2
        weights, current = weights - size * step, following
    raise CalibrationFitError(
        f"The fit did not converge in {_MOST_STEPS} steps; margins are as large as "
        f"{np.abs(columns).max():.3g} standard deviations.",
        hint="Look for margins that are no margins among the pairs.",
    )


def _probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns sigmoid(logits), [N] float64, without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))


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
        probabilities[inside] = _probabilities(slope * margins[inside] + intercept)
        for precision in wanted:
            lowest, reached = _lowest(margins[~inside], others, precision)
            if reached:
                taken = inside & (margins >= lowest)
                count, hits = choices[precision]
                choices[precision] = (count + int(taken.sum()), hits + int(labels[taken].sum()))
    return probabilities, choices


def _lowest(margins: np.ndarray, labels: np.ndarray, wanted: float) -> tuple[float, bool]:
    """Returns the lowest margin with the wanted precision at or above it; else the best one."""
    order = np.argsort(-margins, kind="stable")
    falling, hits = margins[order], np.cumsum(labels[order])
    # Equal margins are taken together or not at all.
    last = np.append(falling[:-1] != falling[1:], True)
    falling, hits, taken = falling[last], hits[last], np.flatnonzero(last) + 1
    precision = hits / taken
    enough = np.flatnonzero(precision >= wanted)
    if len(enough):
        return float(falling[enough[-1]]), True
    best = np.flatnonzero(precision == precision.max())[-1]
    return float(falling[best]), False


def _threshold(
    calibration: Calibration,
    margins: np.ndarray,
    labels: np.ndarray,
    wanted: float,
    choice: tuple[int, int] | None,
) -> Threshold:
    margin, _ = _lowest(margins, labels, wanted)
    taken = margins >= margin
    count, hits = int(taken.sum()), int(labels[taken].sum())
    positives = int(labels.sum())
    return Threshold(
        wanted_precision=wanted,
        score=calibration.score(margin),
        margin=margin,
        precision=hits / count,
        precision_low=wilson_low(hits, count),
        recall=hits / positives,
        num_taken=count,
        held_out_precision=None if choice is None or not choice[0] else choice[1] / choice[0],
        held_out_recall=None if choice is None else choice[1] / positives,
    )


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


def _threshold_notes(thresholds: Sequence[Threshold]) -> list[str]:
    return [
        f"the threshold for {one.wanted_precision:g} rests on {one.num_taken} pairs: look at its "
        "interval and at what was held out"
        for one in thresholds
        if one.num_taken < _FEW_TAKEN
    ]


def _checked_precision(precision: float) -> float:
    if not 0 < precision <= 1:
        raise InvalidOptionError(f"precision must be above 0 and at most 1; got {precision!r}.")
    return float(precision)
