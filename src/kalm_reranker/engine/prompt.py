"""A decoder input, and how much of it other queries share."""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Prompt:
    """Token ids of a prompt.

    Attributes:
        ids: All of them.
        prefix: The first ones, if they are the same for every query with this instruction, so
            that their keys and values can be kept per passage; empty if nothing is shared.
        truncated: Whether the query was cut.
    """

    ids: tuple[int, ...]
    prefix: tuple[int, ...] = ()
    truncated: bool = False

    @cached_property
    def rest(self) -> tuple[int, ...]:
        """What follows the prefix; always the same object, so that pairs are seen to share it."""
        return self.ids[len(self.prefix) :]
