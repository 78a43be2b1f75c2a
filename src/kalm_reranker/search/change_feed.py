"""What a first stage reads of a store: passages by key, and which of them changed since when.

Protocols, so that this room needs no store, and a store no first stage.
"""

from collections.abc import Iterator
from typing import Protocol


class Change(Protocol):
    """The latest state of a passage."""

    @property
    def key(self) -> int:
        """The store's number for the passage: positive, 63 bits, never used again."""
        ...

    @property
    def change(self) -> int:
        """The number of the put or delete that made it so."""
        ...


class TextChange(Change, Protocol):
    """The latest state of a passage's text."""

    @property
    def text(self) -> str | None:
        """Its text; None where the passage was deleted."""
        ...


class VectorChange(Change, Protocol):
    """The latest state of a passage's vector."""

    @property
    def vector(self) -> bytes | None:
        """W little-endian float32 numbers of unit norm; None where the passage was deleted."""
        ...


class Feed(Protocol):
    """The counters of a store. Puts and deletes are numbered from 1, each with the next number."""

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


class ChangeFeed(Feed, Protocol):
    """The texts of a store in the order in which they changed."""

    def changes_since(self, change: int) -> Iterator[TextChange]:
        """Streams what changed after `change`, by ascending number.

        A passage comes once, as it is now. Since 0, all passages come and deletions need not.
        """
        ...

    def sample_texts(self, count: int) -> list[str]:
        """Returns at most `count` texts, spread evenly over the store."""
        ...


class VectorFeed(Feed, Protocol):
    """The vectors of a store in the order in which they changed."""

    def vectors_since(self, change: int) -> Iterator[VectorChange]:
        """Streams what changed after `change`, by ascending number; see `changes_since`."""
        ...
