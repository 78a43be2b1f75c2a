"""Kinds of work without a model, and costs that are known."""

import threading
from dataclasses import dataclass, field

from kalm_reranker.batching.flow import Flow
from kalm_reranker.batching.step_cost import StepCost
from kalm_reranker.batching.work import Work

PATIENCE_S = 30  # for what happens at once, or never
UNIT_S = 0.001


def fixed_cost(name="double", *, unit_s=UNIT_S, step_s=0.0):
    """What steps cost, known beforehand."""
    cost = StepCost()
    cost.unit_s, cost.step_s = unit_s, step_s
    return cost


@dataclass(frozen=True)
class Double:
    """Twice each number; an error for items that are one."""

    name: str = "double"

    def run(self, items):
        for item in items:
            if isinstance(item, BaseException):
                raise item
        return [2 * item for item in items]


class Gate(Double):
    """As `Double`, but steps wait until the gate opens; it tells what each one had."""

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "opened", threading.Event())
        object.__setattr__(self, "entered", threading.Event())
        object.__setattr__(self, "steps", [])

    def run(self, items):
        self.steps.append(list(items))
        self.entered.set()
        assert self.opened.wait(PATIENCE_S)
        return super().run(items)

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


@dataclass
class Told:
    """A listener that remembers."""

    steps: list = field(default_factory=list)
    waits: list = field(default_factory=list)

    def step_took(self, seconds):
        self.steps.append(seconds)

    def queue_waited(self, seconds):
        self.waits.append(seconds)


def work_of(units, *, flow=None, kind=None, name=None):
    """Work whose items are (name, number)."""
    items = [(name, number) for number in range(len(units))]
    return Work(flow or Flow(), kind or Double(), items, units)
