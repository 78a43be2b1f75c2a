"""What derived data (a BM25 index, a matrix of vectors) read of a store to catch up with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TextChange:
    """A passage's latest text, or None where it was deleted, and when that happened."""

    key: int
    text: str | None
    change: int


@dataclass(frozen=True, slots=True)
class VectorChange:
    """A passage's latest vector (float32 little-endian), or None where it was deleted."""

    key: int
    vector: bytes | None
    change: int


class ChangeFeed(Protocol):
    """The changes of a store's texts, in order. Changes since 0 are all that is there."""

    @property
    def store_id(self) -> str:
        """The store's random name, for life."""
        ...

    def last_change(self) -> int:
        """Returns the number of the last put or delete."""
        ...

    def num_passages(self) -> int:
        """Returns how many passages there are."""
        ...

    def changes_since(self, change: int) -> Iterator[TextChange]:
        """Yields what happened after a change, ascending; of each passage its latest state."""
        ...

    def sample_texts(self, count: int) -> list[str]:
        """Returns up to `count` texts, evenly spread over the store."""
        ...


class VectorFeed(Protocol):
    """The changes of a store's dense vectors, in order."""

    @property
    def store_id(self) -> str:
        """The store's random name, for life."""
        ...

    def last_change(self) -> int:
        """Returns the number of the last put or delete."""
        ...

    def num_passages(self) -> int:
        """Returns how many passages there are."""
        ...

    def vectors_since(self, change: int) -> Iterator[VectorChange]:
        """Yields what happened after a change, ascending; of each passage its latest state."""
        ...
