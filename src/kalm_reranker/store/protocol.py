"""What any store of passage states can do; SQLite is one, a second backend fits beside it.

A passage has an id, which users choose, and a key: a positive number that the store gives it and
never gives again. Every put and delete has a change number, by which derived data (the BM25 index,
the hot tier) know what they have missed.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kalm_reranker.store.header import StoreHeader
from kalm_reranker.store.records import (
    Damage,
    EncodedPassage,
    KnownPassage,
    StoreCounts,
    StoredPassage,
    StoredStates,
    VerifyReport,
)


@dataclass(frozen=True, slots=True)
class StatesRead:
    """Result of reading states: what was found, what is not there (any more), what is damaged."""

    found: dict[int, StoredStates]
    missing: tuple[int, ...]
    damaged: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class PassagesRead:
    """Result of reading passages: what was found, what is not there (any more), what is damaged."""

    found: dict[int, StoredPassage]
    missing: tuple[int, ...]
    damaged: tuple[Damage, ...]


class PassageStore(Protocol):
    """A durable map from passages to compressed states. Safe to use from several threads.

    All methods raise `StoreError`s: `DamagedStoreError` where the structure is broken,
    `StoreWriteError` and `StoreBusyError` where writing is not possible. A put or a delete is
    atomic and durable when it returns.
    """

    @property
    def path(self) -> Path:
        """Where it is, for messages."""
        ...

    @property
    def header(self) -> StoreHeader:
        """What it says of itself."""
        ...

    def keys_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Returns the keys of the ids that exist."""
        ...

    def read_states(self, keys: Sequence[int]) -> StatesRead:
        """Reads and checks the states of passages."""
        ...

    def token_counts(self, keys: Sequence[int]) -> list[int]:
        """Returns the tokens of each passage; 0 for one that is missing or damaged.

        For plans of what to read together: unlike `read_states` it checks nothing.
        """
        ...

    def read_passages(self, keys: Sequence[int]) -> PassagesRead:
        """Reads and checks ids, texts and metadata of passages."""
        ...

    def known(self, ids: Sequence[str]) -> dict[str, KnownPassage]:
        """Returns what an add needs to know of the ids that exist."""
        ...

    def put_many(self, passages: Sequence[EncodedPassage]) -> None:
        """Stores passages, replacing those whose id exists; all of them or none."""
        ...

    def set_metadata(self, metadata: Sequence[tuple[int, str | None]]) -> None:
        """Replaces the metadata of passages, by key; their states stay."""
        ...

    def delete(self, ids: Sequence[str]) -> int:
        """Deletes passages and returns how many there were; all of them or none."""
        ...

    def delete_keys(self, keys: Sequence[int]) -> int:
        """Deletes passages by key, also such as are too damaged to have an id."""
        ...

    def writing(self, *, wait_s: float = 0.0) -> AbstractContextManager[None]:
        """Holds the writer lock; puts and deletes take it themselves where nobody did."""
        ...

    def keys(self) -> Iterator[int]:
        """Yields the keys of all passages, ascending. Streams."""
        ...

    def changed_keys_since(self, change: int, limit: int) -> list[int] | None:
        """Returns keys put or deleted after a change; None if there are more than `limit`."""
        ...

    def last_change(self) -> int:
        """Returns the number of the last put or delete."""
        ...

    def num_passages(self) -> int:
        """Returns how many passages there are."""
        ...

    def counts(self) -> StoreCounts:
        """Returns how much is stored."""
        ...

    def verify(self) -> VerifyReport:
        """Reads every record and checks it."""
        ...

    def compact(self) -> None:
        """Gives free space back to the file system."""
        ...

    def close(self) -> None:
        """Closes all files. Using the store afterwards opens them again."""
        ...
