"""Times every way at every point, in rounds over all of them, within a limit of time."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kalm_reranker.bench.report import CACHED, Measurement
from kalm_reranker.bench.workload import Scorer, Workload

# Candidates of the calls that estimate how long a job takes.
_PROBED = 4
# A first call that takes more than this part of the job's share is all that estimates it.
_PROBE_PART = 8
# After so many limits nothing more is begun: estimates were wrong, or the machine got busy.
_PATIENCE = 1.5


@dataclass(kw_only=True)
class Job:
    """One way at one point.

    Args:
        scorer: The way.
        work: The point.
        ratio: The point's ratio; None where the way knows none.
        count: Candidates that are scored in each round.
        seconds: Of each round.
        probed: Candidates of the call that estimated the job.
        probed_s: Its seconds; the job's only time where no round came to it.
    """

    scorer: Scorer
    work: Workload
    ratio: int | None
    count: int = 0
    seconds: list[float] = field(default_factory=list)
    probed: int = 0
    probed_s: float = 0.0

    def run(self, count: int) -> float:
        """Scores the first `count` candidates; returns seconds."""
        start = time.perf_counter()
        self.scorer.score(self.work, count)
        return time.perf_counter() - start

    def measurement(self) -> Measurement | None:
        """Returns what was measured so far; None if nothing was."""
        if not self.probed:
            return None
        return Measurement(
            way=self.scorer.way,
            length=self.work.length,
            ratio=self.ratio,
            candidates=len(self.work.documents),
            measured=self.count if self.seconds else self.probed,
            seconds=tuple(self.seconds) or (self.probed_s,),
        )


class Cost(NamedTuple):
    """What a job was found to take.

    Args:
        fixed_s: Seconds of any call.
        each_s: Seconds of each candidate.
    """

    fixed_s: float
    each_s: float

    def seconds(self, count: int) -> float:
        """Returns how long a call takes."""
        return self.fixed_s + count * self.each_s

    def affordable(self, seconds: float) -> float:
        """Returns how many candidates a call of so many seconds scores."""
        return (seconds - self.fixed_s) / self.each_s


def probe(job: Job, patience_s: float) -> Cost:
    """Estimates a job from calls with few candidates.

    Args:
        job: The job; it remembers the last of these calls.
        patience_s: A first call that takes longer is the only one.
    """
    few = min(_PROBED, len(job.work.documents))
    first_s = job.run(1)
    job.probed, job.probed_s = 1, first_s
    if first_s > patience_s:
        return Cost(0.0, first_s)
    if job.scorer.way.passages == CACHED:
        job.run(few)  # fills the cache, which is not what is estimated
    job.probed_s = one_s = job.run(1)
    if few == 1:
        return Cost(0.0, one_s)
    job.probed_s = few_s = job.run(few)
    job.probed = few
    # Clocks are noisy: a candidate takes at least half of what its share of the call is.
    each_s = max((few_s - one_s) / (few - 1), few_s / few / 2)
    return Cost(max(0.0, few_s - few * each_s), each_s)


def measure(
    jobs: Sequence[Job],
    *,
    rounds: int,
    warm_up: int,
    batch_size: int,
    limit_s: float,
    on_progress: Callable[[int], None],
) -> None:
    """Fills in the jobs.

    Each round runs every job once, every other round in reverse, so that whatever else the
    machine does meets all of them alike.

    Args:
        jobs: The jobs; what was measured stays in them also when this is interrupted. Those that
            no round came to in time have the time of the call that estimated them.
        rounds: Rounds that count.
        warm_up: Rounds before them that do not.
        batch_size: Counts are cut to multiples of it, or of 8, so that batches stay full.
        limit_s: Seconds for everything.
        on_progress: Called with 1 after each of `num_calls` calls.
    """
    start = time.perf_counter()
    costs = []
    for job in jobs:
        costs.append(probe(job, limit_s / len(jobs) / _PROBE_PART))
        on_progress(1)
    estimates = [
        cost.seconds(len(job.work.documents)) for job, cost in zip(jobs, costs, strict=True)
    ]
    left = max(0.0, limit_s - (time.perf_counter() - start))
    share_s = fair_share(estimates, left / (rounds + warm_up))
    for job, cost in zip(jobs, costs, strict=True):
        job.count = full_batches(cost.affordable(share_s), len(job.work.documents), batch_size)
    for number in range(warm_up + rounds):
        for job in jobs if number % 2 == 0 else reversed(jobs):
            if time.perf_counter() - start > _PATIENCE * limit_s:
                return
            seconds = job.run(job.count)
            if number >= warm_up:
                job.seconds.append(seconds)
            on_progress(1)


def num_calls(num_jobs: int, *, rounds: int, warm_up: int) -> int:
    """Returns how often `measure` calls `on_progress`."""
    return num_jobs * (1 + rounds + warm_up)


def fair_share(estimates: Sequence[float], total: float) -> float:
    """Returns the most that each may take so that all together take `total`; no limit if they do.

    What the short ones leave over goes to the long ones: nothing is cut as long as everything
    fits, and then the longest first.
    """
    left = total
    for index, estimate in enumerate(sorted(estimates)):
        share = left / (len(estimates) - index)
        if estimate > share:
            return share
        left -= estimate
    return math.inf


def full_batches(affordable: float, candidates: int, batch_size: int) -> int:
    """Returns how many candidates are scored, at least one.

    Args:
        affordable: How many there is time for.
        candidates: All of them.
        batch_size: Counts from it on are cut to its multiples, smaller ones to multiples of 8.
    """
    if affordable >= candidates:
        return candidates
    count = int(affordable)
    for multiple in (batch_size, 8):
        if count >= multiple:
            return count - count % multiple
    return max(1, count)
