"""From the two logits to a relevance score. Pure functions."""

import math
from typing import NamedTuple

_SMALLEST_EXPONENT = -708.0  # exp(708) is the last whole power below the largest double


def margin_from_logits(yes_logit: float, no_logit: float) -> float:
    """Returns z_yes - z_no, the log-odds of relevance."""
    return yes_logit - no_logit


def score_from_margin(margin: float) -> float:
    """Returns P(yes) = exp(z_yes) / (exp(z_yes) + exp(z_no)) as sigmoid(margin).

    Computed in double precision and without overflow for any finite margin, so that two
    margins that differ keep different scores as long as a double can tell them apart. A larger
    margin never has a smaller score, not even by rounding: thresholds rely on it.

    Example:
        >>> score_from_margin(0.0)
        0.5
        >>> round(score_from_margin(8.625), 6)
        0.99982
    """
    if margin < _SMALLEST_EXPONENT:
        return math.exp(margin)  # 1 + exp(-margin) would overflow, and is exp(-margin) anyway
    # Of odds / (1 + odds) both parts would be rounded, so that the quotient could fall.
    return 1.0 / (1.0 + math.exp(-margin))


class ScoredPair(NamedTuple):
    """A relevance score and the margin it comes from.

    Attributes:
        score: P(yes), or what a calibration makes of the margin.
        margin: yes logit - no logit, whether there is a calibration or not.
    """

    score: float
    margin: float

    @property
    def raw_score(self) -> float:
        """P(yes) of the model itself: `score` where there is no calibration."""
        return score_from_margin(self.margin)


def scored_pair(margin: float) -> ScoredPair:
    """Returns a margin together with its score."""
    return ScoredPair(score_from_margin(margin), margin)
