"""Which work is next: fair between requests, whatever their size.

Each piece of work gets the time at which it would end if the engine were shared evenly between all
requests, and work with the earliest such time goes first. A small request therefore passes a large
one that came before it, while the large one keeps its place among those that come later: it cannot
starve. Time is virtual here: it advances by the engine's own, divided by the number of requests.

Source: weighted fair queueing (Demers, Keshav, Shenker 1989), with requests for packets; virtual
time counts waiting requests instead of simulating the ideal server.
"""

from collections.abc import Callable, Iterator, Sequence

from kalm_reranker.batching.step_cost import StepCost
from kalm_reranker.batching.work import Kind, Work


class Step:
    """Items that run together.

    Args:
        kind: Of all of them.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.members: list[tuple[Work, int]] = []
        self.units = 0.0

    def add(self, work: Work) -> None:
        """Takes the next item of a work."""
        self.units += work.peek()
        self.members.append((work, work.take()))

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
    """

    def __init__(self, cost_of: Callable[[str], StepCost]) -> None:
        self._cost_of = cost_of
        self._waiting: list[Work] = []
        self._virtual_s = 0.0
        self.num_dropped = 0  # works that nobody wanted any more

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting(self) -> Sequence[Work]:
        """Work that has items left to begin."""
        return self._waiting

    def put(self, work: Work) -> None:
        """Takes work in."""
        seconds = sum(work.units) * self._cost_of(work.kind.name).unit_s
        # What a request asks for piece by piece counts as if it had asked for all at once.
        work.tag = max(self._virtual_s, work.flow.finish_tag) + seconds
        work.flow.finish_tag = work.tag
        self._waiting.append(work)

    def next_step(self, seconds: float) -> Step | None:
        """Takes items for a step of about so many seconds; None if nothing waits.

        Work whose request is cancelled or too late is dropped, and whoever waits is told.
        """
        self._drop_unwanted()
        if not self._waiting:
            return None
        self._waiting.sort(key=lambda work: work.tag)  # stable: first come, first served
        kind = self._waiting[0].kind
        most = self._cost_of(kind.name).units_in(seconds)
        step = Step(kind)
        for work in self._waiting:
            if work.kind != kind:
                continue
            while not work.is_taken and (not step.members or step.units + work.peek() <= most):
                step.add(work)
            if step.units >= most:
                break
        self._waiting = [work for work in self._waiting if not work.is_taken]
        return step

    def advance(self, seconds: float, num_flows: int) -> None:
        """Tells how long a step took, and how many requests there were to share the engine."""
        self._virtual_s += seconds / max(1, num_flows)

    def num_flows(self) -> int:
        """Returns how many requests wait."""
        return len({id(work.flow) for work in self._waiting})

    def drain(self) -> list[Work]:
        """Takes everything out, unfinished."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def _drop_unwanted(self) -> None:
        wanted = []
        for work in self._waiting:
            obstacle = work.flow.obstacle()
            if obstacle is None and not work.future.done():
                wanted.append(work)
            elif obstacle is not None:
                work.fail(obstacle)
        self.num_dropped += len(self._waiting) - len(wanted)
        self._waiting = wanted
