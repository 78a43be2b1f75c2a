"""Which work is next: fair between requests, whatever their size.

Requests take turns. Each gets the time at which its turn would end if the engine were shared evenly
between all requests, and the earliest such time goes first. A turn is short, and a small request
ends within its first: it passes the large one that came before it. The large one waits for no more
than as many turns as there are requests: it cannot starve, nor can it, late for whatever reason,
hold the engine for longer than a turn.

Time is virtual here: it advances by that of the work done, divided by the number of requests. Both
it and turns are measured by what work is expected to take. Were one of them measured by clocks,
work that takes longer than expected would gain or lose against the other.

A step is a share of the first request's work, about `target_step_s` of it, and with it all of
those requests that end in such a share: they do not make each other wait, and the constant cost of
a step is paid once for all. What is larger comes on its own, so that whoever arrives next waits for
a share.

Source: weighted fair queueing (Demers, Keshav, Shenker 1989), with turns for packets; virtual time
counts waiting requests instead of simulating the ideal server.
"""

from collections.abc import Callable, Iterator, Sequence

from kalm_reranker.batching.step_cost import StepCost
from kalm_reranker.batching.work import Kind, Work

# Shares in a step, at most: by then its constant cost is a few percent of it.
_MOST_SHARES = 8
# A share is never less, however slow the model: smaller steps are mostly their constant cost.
_SMALLEST_SHARE = 512  # tokens, about: a request with a few short documents


class Step:
    """Items that run together.

    Args:
        kind: Of all of them.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.members: list[tuple[Work, int]] = []
        self.units = 0.0

    def take(self, work: Work, most: float) -> None:
        """Takes items of a work, so many units at most; if not even one fits, one."""
        units = 0.0
        while not work.is_taken and (not units or units + work.peek() <= most):
            units += work.peek()
            self.members.append((work, work.take()))
        self.units += units

    def forget(self) -> None:
        """Lets go of the works: an error in one keeps the frames that it went through."""
        self.members.clear()

    def num_flows(self) -> int:
        """Returns how many requests it is for."""
        return len({id(work.flow) for work, _ in self.members})

    def by_work(self) -> Iterator["Step"]:
        """Yields a step for the items of each work alone."""
        steps: dict[int, Step] = {}
        for work, index in self.members:
            step = steps.setdefault(id(work), Step(self.kind))
            step.members.append((work, index))
            step.units += work.units[index]
        yield from steps.values()


class FairQueue:
    """Waiting work, in the order in which it is to be done. Not thread-safe.

    Args:
        cost_of: Returns what steps of a kind's name cost.
        turn_s: Seconds of a turn: some steps.
    """

    def __init__(self, cost_of: Callable[[str], StepCost], turn_s: float) -> None:
        self._cost_of = cost_of
        self._turn_s = turn_s
        self._waiting: list[Work] = []
        self._virtual_s = 0.0
        self.num_dropped = 0  # works that nobody wanted any more

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting(self) -> Sequence[Work]:
        """Work that has items left to begin."""
        return self._waiting

    def waiting_s(self) -> float:
        """Returns how long what waits is expected to take."""
        return sum(work.units_left * self._unit_s(work) for work in self._waiting)

    def put(self, work: Work) -> None:
        """Takes work in."""
        self._begin_turn(work)
        self._waiting.append(work)

    def next_step(self, seconds: float) -> Step | None:
        """Takes items for a step; None if nothing waits.

        Work whose request is cancelled or too late is dropped, and whoever waits is told.

        Args:
            seconds: A share: what one request's part of the step should take.
        """
        self._drop_unwanted()
        if not self._waiting:
            return None
        num_flows = len({id(work.flow) for work in self._waiting})
        self._waiting.sort(key=lambda work: work.tag)  # stable: first come, first served
        step = self._taken(self._waiting[0].kind, seconds)
        self._virtual_s += step.units * self._cost_of(step.kind.name).unit_s / num_flows
        self._waiting = [work for work in self._waiting if not work.is_taken]
        for work in self._waiting:
            if work.turn_units <= 0:
                self._begin_turn(work)
        return step

    def drain(self) -> list[Work]:
        """Takes everything out, unfinished."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def _taken(self, kind: Kind, seconds: float) -> Step:
        """Takes a share of the first work, and others of its kind that end in one."""
        share = max(_SMALLEST_SHARE, self._cost_of(kind.name).units_in(seconds))
        step = Step(kind)
        first, *others = self._waiting
        step.take(first, share)
        for work in others:
            fits = work.units_left <= min(share, _MOST_SHARES * share - step.units)
            if fits and work.kind == kind:
                step.take(work, share)
        return step

    def _begin_turn(self, work: Work) -> None:
        unit_s = self._unit_s(work)
        # What the last turn took too much counts.
        seconds = min(self._turn_s, work.units_left * unit_s) - work.turn_units * unit_s
        work.turn_units += seconds / unit_s
        # What a request asks for piece by piece counts as if it had asked for all at once.
        work.tag = max(self._virtual_s, work.flow.turns_end_s) + seconds
        work.flow.turns_end_s = work.tag

    def _unit_s(self, work: Work) -> float:
        return self._cost_of(work.kind.name).unit_s

    def _drop_unwanted(self) -> None:
        wanted = []
        for work in self._waiting:
            if work.future.done():  # it failed
                continue
            obstacle = work.flow.obstacle()
            if obstacle is None:
                wanted.append(work)
            else:
                work.fail(obstacle)
                self.num_dropped += 1
        self._waiting = wanted
