"""The lowest score that has a wanted precision on labelled pairs, and how sure that is."""

import math
from collections.abc import Sequence

import numpy as np

from kalm_reranker.calibration import Calibration, Threshold

_FEW_TAKEN = 20  # pairs above a threshold: below it, the interval is wider than a third
_Z95 = 1.959964  # two-sided 95% of a normal distribution


def threshold_of(
    calibration: Calibration,
    margins: np.ndarray,
    labels: np.ndarray,
    wanted: float,
    choice: tuple[int, int] | None,
) -> Threshold:
    """Returns the threshold for a wanted precision, or the best there is.

    Args:
        calibration: Turns the margin into a score.
        margins: [N] float64.
        labels: [N] bool; some True.
        wanted: The precision.
        choice: Pairs taken, and relevant among them, where it was chosen without them; None where
            nothing was held out.
    """
    margin, _ = lowest_margin(margins, labels, wanted)
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


def threshold_notes(thresholds: Sequence[Threshold]) -> list[str]:
    """Returns a sentence for each threshold that rests on few pairs."""
    return [
        f"the threshold for {one.wanted_precision:g} rests on {one.num_taken} pairs: look at its "
        "interval and at what was held out"
        for one in thresholds
        if one.num_taken < _FEW_TAKEN
    ]


def lowest_margin(margins: np.ndarray, labels: np.ndarray, wanted: float) -> tuple[float, bool]:
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


def wilson_low(hits: int, total: int) -> float:
    """Returns the lower end of the 95% interval of a share (Wilson's score interval)."""
    share, square = hits / total, _Z95**2
    middle = share + square / (2 * total)
    spread = _Z95 * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return max(0.0, (middle - spread) / (1 + square / total))
