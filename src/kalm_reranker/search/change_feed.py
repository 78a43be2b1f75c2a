"""What a first stage reads of a store: passages by key, and which of them changed since when."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TextChange:
    """The latest state of a passage's text.

    Args:
        key: The store's number for the passage: positive, 63 bits, never used again.
        text: Its text; None where the passage was deleted.
        change: The number of the change that made it so.
    """

    key: int
    text: str | None
    change: int


class ChangeFeed(Protocol):
    """The texts of a store in the order in which they changed.

    Changes are numbered by the store, from 1, one number for every put or delete.
    """

    @property
    def store_id(self) -> str:
        """The random name that the store keeps for life."""
        ...

    def last_change(self) -> int:
        """Returns the number of the newest change; 0 for a store nothing was put in."""
        ...

    def num_passages(self) -> int:
        """Returns how many passages the store holds."""
        ...

    def changes_since(self, change: int) -> Iterator[TextChange]:
        """Streams what changed after `change`, by ascending number.

        A passage comes once, as it is now. Since 0, all passages come and deletions need not.
        """
        ...

    def sample_texts(self, count: int) -> list[str]:
        """Returns at most `count` texts, spread evenly over the store."""
        ...


@dataclass(frozen=True, slots=True)
class VectorChange:
    """The latest state of a passage's vector.

    Args:
        key: See `TextChange`, as for the other.
        vector: W little-endian float32 numbers of unit norm; None where the passage was deleted.
        change: See `TextChange`.
    """

    key: int
    vector: bytes | None
    change: int


class VectorFeed(Protocol):
    """The vectors of a store in the order in which they changed; see `ChangeFeed`."""

    @property
    def store_id(self) -> str:
        """The random name that the store keeps for life."""
        ...

    def last_change(self) -> int:
        """Returns the number of the newest change; 0 for a store nothing was put in."""
        ...

    def num_passages(self) -> int:
        """Returns how many passages the store holds."""
        ...

    def vectors_since(self, change: int) -> Iterator[VectorChange]:
        """Streams what changed after `change`, by ascending number; see `ChangeFeed`."""
        ...
