"""Who is told of single observations, for histograms."""

from typing import Protocol


class Listener(Protocol):
    """Takes observations. Called from several threads; must be quick."""

    def queue_waited(self, seconds: float) -> None:
        """A request waited so long for the engine, all its work together."""
        ...

    def step_took(self, seconds: float) -> None:
        """A step of the engine took so long."""
        ...


class NoListener:
    """Takes observations that nobody wants."""

    def queue_waited(self, seconds: float) -> None:
        """Does nothing."""

    def step_took(self, seconds: float) -> None:
        """Does nothing."""
