"""A checksum changes with everything it covers, and with where one part ends."""

import itertools

from kalm_reranker.store.checksums import (
    counters_checksum,
    deletion_checksum,
    passage_checksum,
    states_checksum,
    text_hash,
    vector_checksum,
)

HASH, OTHER_HASH = bytes(16), bytes([1] * 16)


def all_differ(checksums):
    found = list(checksums)
    assert all(len(checksum) == 8 for checksum in found)
    assert len(set(found)) == len(found)


def test_a_passages_checksum_covers_every_column():
    all_differ(
        [
            passage_checksum(1, 2, b"id", HASH, b"{}", b"text"),
            passage_checksum(3, 2, b"id", HASH, b"{}", b"text"),
            passage_checksum(1, 3, b"id", HASH, b"{}", b"text"),
            passage_checksum(1, 2, b"ie", HASH, b"{}", b"text"),
            passage_checksum(1, 2, b"id", OTHER_HASH, b"{}", b"text"),
            passage_checksum(1, 2, b"id", HASH, b"{ }", b"text"),
            passage_checksum(1, 2, b"id", HASH, b"{}", b"texu"),
        ]
    )


def test_what_is_absent_differs_from_what_is_empty_and_parts_have_ends():
    parts = [None, b"", b"a", b"ab", b"b"]
    all_differ(
        passage_checksum(1, 2, name, HASH, metadata, text)
        for name in (b"x", b"xa")
        for metadata, text in itertools.product(parts, parts)
    )


def test_a_states_checksum_covers_every_column():
    all_differ(
        [
            states_checksum(1, 5, False, HASH, b"slots"),
            states_checksum(2, 5, False, HASH, b"slots"),
            states_checksum(1, 6, False, HASH, b"slots"),
            states_checksum(1, 5, True, HASH, b"slots"),
            states_checksum(1, 5, False, OTHER_HASH, b"slots"),
            states_checksum(1, 5, False, HASH, b"slott"),
            vector_checksum(1, HASH, b"slots"),
            vector_checksum(2, HASH, b"slots"),
            vector_checksum(1, OTHER_HASH, b"slots"),
        ]
    )


def test_counters_and_deletions_have_checksums_that_know_their_order():
    all_differ(counters_checksum(*values) for values in itertools.permutations([1, 2, 3, 4, 5]))
    all_differ([deletion_checksum(1, 2), deletion_checksum(2, 1), deletion_checksum(1, -2)])


def test_texts_are_known_by_what_they_hold():
    texts = ["", " ", "a", "é", "e\u0301", "a\0", "a\0\0", "A"]
    assert len({text_hash(text) for text in texts}) == len(texts)
    assert text_hash("a") == text_hash("a")
    assert len(text_hash("x" * 10**6)) == 16
