"""What goes into a store and what comes out of it, as plain data."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPassage:
    """A passage with its states, ready to be stored.

    Args:
        id: Its name.
        text: The text, or None where the store keeps none.
        metadata: JSON object as text, or None.
        text_hash: `checksums.text_hash` of the text.
        token_count: Tokens the encoder read.
        truncated: Whether the text was cut.
        slots: Its slots, in the store's codec.
        vector: Its dense vector, float32 little-endian, where the store keeps them.
    """

    id: str
    text: str | None
    metadata: str | None
    text_hash: bytes
    token_count: int
    truncated: bool
    slots: bytes
    vector: bytes | None = None


@dataclass(frozen=True, slots=True)
class KnownPassage:
    """What an `add` must know of a stored passage to skip or replace it."""

    key: int
    text_hash: bytes
    metadata: str | None


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage as stored, without its states.

    Attributes:
        key: Its number in this store; never used again after a deletion.
        id: Its name.
        text: The text; None where the store keeps none.
        metadata: JSON object; empty where there is none.
        text_hash: 16 bytes that name the text.
    """

    key: int
    id: str
    text: str | None
    metadata: dict[str, Any]
    text_hash: bytes


@dataclass(frozen=True, slots=True)
class StoredStates:
    """A passage's states as stored: bytes in the store's codec.

    Attributes:
        key: Of the passage.
        token_count: Tokens of the passage.
        truncated: Whether its text was cut when it was encoded.
        slots: The states.
        version: Hash of the text and checksum of the record: other states have another one.
    """

    key: int
    token_count: int
    truncated: bool
    slots: bytes
    version: bytes

    @property
    def num_bytes(self) -> int:
        """Bytes that the slots take."""
        return len(self.slots)


@dataclass(frozen=True, slots=True)
class Damage:
    """A record whose bytes are not what was written.

    Attributes:
        key: Its number, where it can be told.
        id: Its name, where it can be told.
        what: Which part, and what is wrong with it.
    """

    key: int | None
    id: str | None
    what: str

    def __str__(self) -> str:
        name = f"passage {self.id!r}" if self.id is not None else f"passage number {self.key}"
        return self.what if self.key is None and self.id is None else f"{name}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCounts:
    """How much is stored.

    Attributes:
        num_passages: Passages.
        num_tokens: Tokens the encoder read, all passages together.
        num_truncated: Passages that were cut at the length limit.
        last_change: Number of the last put or delete.
        file_bytes: Size of the store's files, write-ahead log included.
        free_bytes: Of these, free pages that later passages will fill, or `compact` gives back.
    """

    num_passages: int
    num_tokens: int
    num_truncated: int
    last_change: int
    file_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What `verify` found.

    Attributes:
        num_passages: Records that were read.
        num_bytes: Bytes of states that were checked.
        structure: Problems of the file itself, as SQLite and the counters tell them.
        damaged: Records that are not what was written.
        seconds: How long it took.
    """

    num_passages: int
    num_bytes: int
    structure: tuple[str, ...] = ()
    damaged: tuple[Damage, ...] = field(default=())
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return not self.structure and not self.damaged


def metadata_from_json(text: bytes | None) -> dict[str, Any]:
    """Returns stored metadata as a dictionary."""
    return json.loads(text) if text else {}
