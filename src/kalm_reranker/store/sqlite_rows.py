"""Rows of a store's tables as records, if they are what was written."""

from typing import Any

from kalm_reranker.store.checksums import (
    TEXT_HASH_BYTES,
    passage_checksum,
    states_checksum,
    vector_checksum,
)
from kalm_reranker.store.records import Damage, StoredPassage, StoredStates, metadata_from_json

_Bytes = bytes | None


def checked_passage(key: int, row: tuple[Any, ...]) -> StoredPassage | Damage:
    """Returns the passage of a row (key, id, change, text_hash, checksum, metadata, text).

    Types are checked as well: a flipped bit can turn a text into a number.
    """
    found_key, name, change, hashed, checksum, metadata, text = row
    if not (
        isinstance(found_key, int)
        and isinstance(change, int)
        and isinstance(name, bytes)
        and isinstance(hashed, bytes)
        and isinstance(metadata, _Bytes)
        and isinstance(text, _Bytes)
        and found_key == key
        and key > 0
        and change >= 0
        and len(hashed) == TEXT_HASH_BYTES
        and passage_checksum(key, change, name, hashed, metadata, text) == checksum
    ):
        readable = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else None
        return Damage(key, readable, "id, text or metadata are not what was written")
    return StoredPassage(
        key=key,
        id=name.decode("utf-8"),
        text=None if text is None else text.decode("utf-8"),
        metadata=metadata_from_json(metadata),
        text_hash=hashed,
    )


def checked_states(
    key: int, row: tuple[Any, ...], *, ratio: int, slot_bytes: int
) -> StoredStates | Damage:
    """Returns the states of a row (key, token_count, truncated, text_hash, checksum, slots)."""
    found_key, token_count, truncated, hashed, checksum, slots = row
    if not (
        found_key == key
        and key > 0
        and isinstance(token_count, int)
        and 0 < token_count < 2**32
        and truncated in (0, 1)
        and isinstance(hashed, bytes)
        and len(hashed) == TEXT_HASH_BYTES
        and isinstance(slots, bytes)
        and len(slots) == -(-token_count // ratio) * slot_bytes
        and states_checksum(key, token_count, bool(truncated), hashed, slots) == checksum
    ):
        return Damage(key, None, "states are not what was written")
    return StoredStates(key, token_count, bool(truncated), slots, version=hashed + checksum)


def checked_vector(key: int, row: tuple[Any, ...]) -> bytes | Damage:
    """Returns the vector of a row (text_hash, checksum, vector)."""
    hashed, checksum, vector = row
    if not (
        key > 0
        and isinstance(hashed, bytes)
        and len(hashed) == TEXT_HASH_BYTES
        and isinstance(vector, bytes)
        and vector_checksum(key, hashed, vector) == checksum
    ):
        return Damage(key, None, "its dense vector is not what was written")
    return vector
