"""From the two logits to a relevance score. Pure functions."""

import math
from typing import NamedTuple


def margin_from_logits(yes_logit: float, no_logit: float) -> float:
    """Returns z_yes - z_no, the log-odds of relevance."""
    return yes_logit - no_logit


def score_from_margin(margin: float) -> float:
    """Returns P(yes) = exp(z_yes) / (exp(z_yes) + exp(z_no)) as sigmoid(margin).

    Computed in double precision and without overflow for any finite margin, so that two
    margins that differ keep different scores as long as a double can tell them apart.

    Example:
        >>> score_from_margin(0.0)
        0.5
        >>> round(score_from_margin(8.625), 6)
        0.99982
    """
    if margin >= 0:
        return 1.0 / (1.0 + math.exp(-margin))
    odds = math.exp(margin)
    return odds / (1.0 + odds)


class ScoredPair(NamedTuple):
    """A relevance score and the margin it comes from."""

    score: float
    margin: float


def scored_pair(margin: float) -> ScoredPair:
    """Returns a margin together with its score."""
    return ScoredPair(score_from_margin(margin), margin)
