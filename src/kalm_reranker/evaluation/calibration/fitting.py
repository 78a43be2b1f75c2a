"""Slope and intercept of largest likelihood.

Source: Platt scaling with smoothed targets (Platt, 1999; Lin, Lin and Weng, 2007); temperature
scaling (Guo et al., 2017), for one margin in place of many logits.
"""

import numpy as np

from kalm_reranker.calibration import CalibrationMethod
from kalm_reranker.errors import CalibrationFitError

_MOST_STEPS = 100  # Newton takes about ten
# Of the mean loss: larger than its rounding, and one more step then leaves no error to speak of,
# since each squares it.
_SMALLEST_DECREASE = 1e-12


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


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """Returns sigmoid(logits), [N] float64, without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))


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
        share = probabilities_of(columns @ weights)
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
