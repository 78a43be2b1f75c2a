"""Is one ranker better than another, or were it the queries? Paired tests over queries."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from kalm_reranker.errors import InputError, InvalidOptionError, shown
from kalm_reranker.evaluation.results import Comparison
from kalm_reranker.extras import import_extra
from kalm_reranker.options import check_count

Test: TypeAlias = Literal["t-test", "bootstrap"]
TESTS: tuple[Test, ...] = get_args(Test)

# Values of a measure that differ by less are equal: what differs is the rounding of their sums.
_SAME = 1e-9
_LEVEL = 0.95
_MOST_DRAWS = 4_000_000  # queries drawn at a time in the bootstrap: 32 MB of indices

Differences = NDArray[np.float64]


def compare(
    values: Mapping[str, float],
    baseline_values: Mapping[str, float],
    *,
    measure: str,
    ranker: str,
    baseline: str,
    dataset: str,
    test: Test = "t-test",
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compares two rankers by their values of one measure on the same queries.

    The t-test takes the differences of queries as a sample of a normal distribution. The bootstrap
    takes them as all there is: it draws as many queries, with replacement, again and again. The
    interval is that between the 2.5th and the 97.5th percentile of the means of such draws; p is
    the share of draws whose mean is at least as far from the observed one as that is from 0.

    Where all differences are the same, neither has a spread to go by. Are they all 0, p is 1.
    Otherwise p is that of tossing as many coins and getting the same side each time, 2^(1-n), the
    interval is the one value, and `test` says so.

    Args:
        values: Query id -> value, of the ranker.
        baseline_values: The same queries' values, of the baseline.
        measure: What was measured.
        ranker: Name of the one.
        baseline: Name of the other.
        dataset: Name of the dataset.
        test: `t-test` or `bootstrap`.
        resamples: Draws of the bootstrap.
        seed: Of the bootstrap; the same one gives the same numbers.

    Raises:
        InvalidOptionError: `test` or `resamples` is out of range.
        InputError: The queries are not the same, are fewer than two, or a value is not finite.
        MissingExtraError: scipy is not installed.
    """
    if test not in TESTS:
        raise InvalidOptionError(f"test must be one of {', '.join(TESTS)}; got {test!r}.")
    check_count(resamples, "resamples")
    differences = _differences(values, baseline_values)
    count = len(differences)
    mean = float(differences.mean())
    if np.ptp(differences) <= _SAME:
        low, high = mean, mean
        p_value = 1.0 if not differences.any() else 2.0 ** (1 - count)
        name = "all differences are equal"
    elif test == "t-test":
        low, high, p_value = _t_test(differences)
        name = "paired t-test"
    else:
        low, high, p_value = _bootstrap(differences, resamples, seed)
        name = f"paired bootstrap, {resamples:,} resamples, seed {seed}"
    return Comparison(
        dataset=dataset,
        ranker=ranker,
        baseline=baseline,
        measure=measure,
        difference=mean,
        low=low,
        high=high,
        p_value=p_value,
        test=name,
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        num_queries=count,
    )


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Returns p-values of several comparisons, corrected for their number after Holm (1979).

    Whoever calls those at most 0.05 significant is wrong about any of them in at most one of 20
    such families of comparisons.

    Example:
        >>> holm_adjusted([0.01, 0.5, 0.02])
        [0.03, 0.5, 0.04]

    Raises:
        InputError: One is not between 0 and 1.
    """
    for p_value in p_values:
        if not 0 <= p_value <= 1:
            raise InputError(f"a p-value must be between 0 and 1; got {p_value!r}.")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    ascending = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for done, place in enumerate(ascending):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - done)))
        adjusted[place] = highest
    return adjusted


def _differences(values: Mapping[str, float], baseline_values: Mapping[str, float]) -> Differences:
    """Returns ranker minus baseline by query, with 0 for what only rounding tells apart."""
    odd = sorted(values.keys() ^ baseline_values.keys())
    if odd:
        raise InputError(
            f"a paired comparison needs the same queries on both sides; {len(odd)} are on one "
            f"side only, the first is {shown(odd[0])}.",
            hint="Measure both runs against the same judgements.",
        )
    if len(values) < 2:
        raise InputError(
            f"a paired comparison needs at least two queries; got {len(values)}.",
            hint="One query says nothing about others.",
        )
    differences = np.array([values[key] - baseline_values[key] for key in values], dtype=np.float64)
    if not np.isfinite(differences).all():
        worst = list(values)[int(np.argmin(np.isfinite(differences)))]
        raise InputError(
            f"values must be finite; query {worst!r} has {values[worst]!r} and "
            f"{baseline_values[worst]!r}."
        )
    differences[np.abs(differences) <= _SAME] = 0.0
    return differences


def _t_test(differences: Differences) -> tuple[float, float, float]:
    """Returns both ends of the interval and p."""
    stats = import_extra("scipy.stats", extra="eval", purpose="a t-test")
    count = len(differences)
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / sqrt(count)
    p_value = 2 * float(stats.t.sf(abs(mean) / error, count - 1))
    reach = error * float(stats.t.ppf((1 + _LEVEL) / 2, count - 1))
    return mean - reach, mean + reach, p_value


def _bootstrap(differences: Differences, resamples: int, seed: int) -> tuple[float, float, float]:
    """Returns both ends of the interval and p."""
    rng = np.random.default_rng(seed)
    count = len(differences)
    means = np.empty(resamples)
    step = max(1, _MOST_DRAWS // count)
    for start in range(0, resamples, step):
        stop = min(start + step, resamples)
        drawn = rng.integers(count, size=(stop - start, count))  # [R, Q]
        means[start:stop] = differences[drawn].mean(axis=1)  # [R, Q] -> [R]
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    mean = differences.mean()
    # The observed mean counts as one draw: p is never 0, which no number of draws could show.
    as_far = int((np.abs(means - mean) >= abs(mean) - _SAME).sum())
    return float(low), float(high), (as_far + 1) / (resamples + 1)
