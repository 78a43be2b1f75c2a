"""Checksums and hashes of what a store keeps.

XXH3-64 guards against accidents (bit rot, truncated writes), not against an attacker; it is many
times faster than reading, so that every read can check. BLAKE2b names texts: two different texts
must never count as the same.
"""

import hashlib
import struct

import xxhash

TEXT_HASH_BYTES = 16

_PASSAGE = struct.Struct("<QQI16sII")
_STATES = struct.Struct("<QIB16s")
_VECTOR = struct.Struct("<Q16s")
_COUNTERS = struct.Struct("<QQQQQ")
_DELETION = struct.Struct("<Qq")  # a damaged passage is deleted by whatever key it has
_ABSENT = 0xFFFFFFFF  # length of what is not there, which differs from what is empty


def text_hash(text: str) -> bytes:
    """Returns the 16 bytes by which the same text is known again."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=TEXT_HASH_BYTES).digest()


def passage_checksum(
    key: int,
    change: int,
    id_bytes: bytes,
    hashed: bytes,
    metadata: bytes | None,
    text: bytes | None,
) -> bytes:
    """Returns the checksum of a row of `passages`: everything in it, with lengths."""
    lengths = [_ABSENT if part is None else len(part) for part in (metadata, text)]
    state = xxhash.xxh3_64(_PASSAGE.pack(key, change, len(id_bytes), hashed, *lengths))
    for part in (id_bytes, metadata, text):
        state.update(part or b"")
    return state.digest()


def states_checksum(
    key: int, token_count: int, truncated: bool, hashed: bytes, slots: bytes | memoryview
) -> bytes:
    """Returns the checksum of a row of `states`; the key binds it to its passage."""
    state = xxhash.xxh3_64(_STATES.pack(key, token_count, truncated, hashed))
    state.update(slots)
    return state.digest()


def vector_checksum(key: int, hashed: bytes, vector: bytes) -> bytes:
    """Returns the checksum of a row of `vectors`."""
    state = xxhash.xxh3_64(_VECTOR.pack(key, hashed))
    state.update(vector)
    return state.digest()


def counters_checksum(*counters: int) -> bytes:
    """Returns the checksum of the row of `counters`."""
    return bytes_checksum(_COUNTERS.pack(*counters))


def deletion_checksum(change: int, key: int) -> bytes:
    """Returns the checksum of a row of `deletions`."""
    return bytes_checksum(_DELETION.pack(change, key))


def bytes_checksum(content: bytes) -> bytes:
    """Returns the checksum of some bytes, such as the header's."""
    return xxhash.xxh3_64_digest(content)
