"""How far probabilities are from what happens: log loss, Brier score, calibration error."""

from dataclasses import dataclass

import numpy as np

from kalm_reranker.calibration import CalibrationQuality

NUM_BINS = 10


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
