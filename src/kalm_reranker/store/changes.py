"""What derived data (a BM25 index, a matrix of vectors) read of a store to catch up with it."""

from dataclasses import dataclass


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
