"""What a condition on metadata matches."""

import pytest

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.search.candidates import filtered
from kalm_reranker.search.filters import predicate_of

METADATA = {"lang": "en", "year": 2020, "tags": ["a", "b"], "open": True, "none": None, "score": 1}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"lang": "en"},
        {"lang": ["de", "en"]},
        {"lang": {"$ne": "de"}},
        {"lang": {"$in": ("en",), "$ne": "de"}},
        {"lang": {"$gte": "aa", "$lt": "f"}},
        {"year": {"$gte": 2020, "$lt": 2020.5}},
        {"year": 2020.0},
        {"tags": "a"},
        {"tags": ["x", "b"]},
        {"tags": {"$nin": ["x"]}},
        {"open": True},
        {"none": None},
        {"absent": {"$exists": False}},
        {"absent": {"$ne": 3}},
        {"lang": {"$exists": True}},
        lambda metadata: metadata["year"] > 2000,
    ],
)
def test_matches(given):
    assert predicate_of(given)(METADATA)


@pytest.mark.parametrize(
    "given",
    [
        {"lang": "de"},
        {"lang": "en", "year": 1999},
        {"lang": []},
        {"year": {"$gt": 2020}},
        {"year": "2020"},
        {"year": {"$gt": "1"}},
        {"lang": {"$gt": 1}},
        {"open": {"$gte": 0}},
        {"score": True},
        {"open": 1},
        {"absent": None},
        {"absent": {"$lt": 3}},
        {"tags": {"$nin": ["a"]}},
        {"tags": {"$ne": "b"}},
    ],
)
def test_does_not_match(given):
    assert not predicate_of(given)(METADATA)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "filter must be a mapping of metadata fields"),
        ("lang=en", "filter must be a mapping"),
        ({3: "x"}, "filter must be a mapping"),
        ({"a": {"$like": "x"}}, r"unknown operator '\$like' for 'a'; allowed: \$gt"),
        ({"a": {"b": "x"}}, "unknown operator 'b'"),
        ({"a": {"$in": 3}}, r"\$in of 'a' must be a list of values; got 3"),
    ],
)
def test_what_is_no_filter(given, message):
    with pytest.raises(InvalidOptionError, match=message):
        predicate_of(given)


@pytest.mark.parametrize(("count", "expected"), [(1, [3]), (3, [3, 6, 9]), (99, [3, 6, 9, 12])])
def test_hits_are_asked_for_until_enough_match(count, expected):
    hits = [(key, 1.0 / key) for key in range(1, 14)]
    metadata = {key: {"third": key % 3 == 0} for key, _ in hits if key != 7}  # 7 was deleted
    depths = []

    def fetch(depth):
        depths.append(depth)
        return hits[:depth]

    found, looked_at = filtered(
        fetch,
        count,
        predicate_of({"third": True}),
        lambda keys: {key: metadata[key] for key in keys if key in metadata},
    )
    assert [key for key, _ in found] == expected
    assert looked_at <= 13
    assert depths == sorted(depths)
