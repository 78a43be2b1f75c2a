"""How rounds are run, and what is done where time is short."""

import math
from dataclasses import dataclass, field

import pytest

from kalm_reranker.bench.measuring import Cost, Job, fair_share, full_batches, measure, num_calls
from kalm_reranker.bench.report import STORED, Measurement, Way
from kalm_reranker.bench.settings import OURS

WAY = Way(path=OURS, passages=STORED, dtype="float32")


@dataclass
class Documents:
    """Stands for a workload, of which the loop knows the number of candidates."""

    documents: list[str]
    length: int = 8


@dataclass
class Recorder:
    """A scorer that notes what it is asked for, and takes as long as it is told."""

    calls: list[int]
    clock: list[float]
    each_s: float
    way: Way = WAY
    own: list[int] = field(default_factory=list)

    def score(self, work, count):
        self.calls.append(id(self))
        self.own.append(count)
        self.clock[0] += count * self.each_s
        return [0.0] * count


@pytest.fixture
def run(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def call(*each_s, candidates=100, rounds=3, warm_up=1, limit_s):
        scorers = [Recorder(calls, clock, seconds) for seconds in each_s]
        jobs = [Job(scorer=one, work=Documents(["x"] * candidates), ratio=2) for one in scorers]
        progress = []
        measure(
            jobs,
            rounds=rounds,
            warm_up=warm_up,
            batch_size=32,
            limit_s=limit_s,
            on_progress=progress.append,
        )
        return jobs, scorers, sum(progress), clock[0]

    return call


def test_everything_is_measured_where_there_is_time(run):
    jobs, scorers, progress, _ = run(0.001, 0.01, limit_s=1000)
    assert [job.count for job in jobs] == [100, 100]
    assert [len(job.seconds) for job in jobs] == [3, 3]
    assert jobs[1].measurement().median_s == pytest.approx(1.0)
    assert not jobs[1].measurement().extrapolated
    assert progress == num_calls(2, rounds=3, warm_up=1)
    # First calls of one, one and four candidates; then the warm-up and three rounds.
    assert scorers[0].own == [1, 1, 4, 100, 100, 100, 100]


@pytest.mark.parametrize("candidates", [3, 6, 33, 97])
def test_nothing_is_cut_by_rounding(run, candidates):
    jobs, _, _, _ = run(0.1, 0.3, 0.7, candidates=candidates, limit_s=10_000)
    assert [job.count for job in jobs] == [candidates] * 3


def test_rounds_alternate_over_all_jobs(run):
    _, scorers, _, _ = run(0.001, 0.001, limit_s=1000)
    first, second = map(id, scorers)
    assert scorers[0].calls[-8:] == [first, second, second, first] * 2


def test_the_long_ones_are_cut_and_scaled(run):
    jobs, _, _, seconds = run(0.0001, 0.1, limit_s=10)
    short, long = (job.measurement() for job in jobs)
    assert not short.extrapolated
    assert long.extrapolated
    assert long.measured < 32
    assert long.candidates == 100
    assert long.median_s == pytest.approx(10.0)  # 100 at 0.1 s each
    assert seconds < 12


def test_nothing_begins_long_after_the_limit(run):
    jobs, scorers, _, seconds = run(5.0, 5.0, limit_s=1)
    # The first calls took too long already, and are all there is.
    assert [one.own for one in scorers] == [[1], [1]]
    assert seconds == 10
    one = jobs[1].measurement()
    assert (one.measured, one.seconds, one.median_s) == (1, (5.0,), 500.0)


def test_rounds_end_in_their_midst_where_the_machine_got_busy(run, monkeypatch):
    slowed = []

    def slow_down(job, count):
        if len(slowed) > 7:  # the rounds that count
            job.scorer.each_s = 10.0
        slowed.append(count)
        return true_run(job, count)

    true_run = Job.run
    monkeypatch.setattr(Job, "run", slow_down)
    jobs, _, _, _ = run(0.01, 0.01, candidates=10, limit_s=20)
    assert sorted(len(job.seconds) for job in jobs) == [0, 1]
    without = next(job for job in jobs if not job.seconds).measurement()
    assert (without.measured, without.median_s) == (4, pytest.approx(0.1))


def test_one_candidate(run):
    jobs, _, _, _ = run(0.5, candidates=1, limit_s=100)
    assert jobs[0].measurement().seconds == (0.5,) * 3


def test_shares():
    assert fair_share([1, 2, 3], 100) == math.inf
    assert fair_share([1, 2, 30], 10) == 7
    assert fair_share([10, 20, 30], 9) == 3
    assert fair_share([], 9) == math.inf


def test_batches_stay_full():
    assert full_batches(1000, 100, 32) == 100
    assert full_batches(99, 100, 32) == 96
    assert full_batches(31, 100, 32) == 24
    assert full_batches(7.9, 100, 32) == 7
    assert full_batches(0.2, 100, 32) == full_batches(-3, 100, 32) == 1


def test_costs():
    cost = Cost(1.0, 0.5)
    assert cost.seconds(10) == 6
    assert cost.affordable(6) == 10


def test_times_are_told_for_all_candidates():
    one = Measurement(
        way=WAY, length=8, ratio=2, candidates=100, measured=25, seconds=(1.0, 3.0, 2.0)
    )
    assert (one.median_s, one.best_s, one.extrapolated) == (8.0, 4.0, True)
