"""What a condition on metadata matches."""

import random
import time

import pytest

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.search.candidates import filtered
from kalm_reranker.search.filters import predicate_of
from kalm_reranker.search.fusion import reciprocal_rank_fusion

METADATA = {"lang": "en", "year": 2020, "tags": ["a", "b"], "open": True, "none": None, "score": 1}
METADATA["pair"] = ["x", {"y": 1}]


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
        {"pair": {"$eq": ["x", {"y": 1.0}]}},
        {"pair": {"$in": [["x", {"y": 1}]]}},
        {"pair": "x"},
        {"year": [{2019}, 2020]},  # a set: no value of JSON, and without a hash
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
        {"pair": {"$eq": ["x", {"y": True}]}},
        {"pair": {"$eq": [{"y": 1}, "x"]}},
        {"year": [{2020}]},
    ],
)
def test_does_not_match(given):
    assert not predicate_of(given)(METADATA)


def test_a_long_list_of_values_costs_no_more_than_a_short_one():
    matches = predicate_of(
        {"year": {"$nin": list(range(100_000, 200_000))}, "lang": [["en"]] * 1000}
    )

    start = time.perf_counter()
    for year in range(10_000):
        assert not matches({"year": year, "lang": "en"})

    assert time.perf_counter() - start < 5  # read value by value it is ten milliseconds for each


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "filter must be a mapping of metadata fields"),
        ("lang=en", "filter must be a mapping"),
        ({3: "x"}, "filter must be a mapping"),
        ({"a": {"$like": "x"}}, r"unknown operator '\$like' for 'a'; allowed: \$gt"),
        ({"a": {"b": "x"}}, "unknown operator 'b'"),
        ({"a": {}}, "the condition on 'a' has no operator"),
        ({"a": {"$gte": None}}, r"\$gte of 'a' must be a number or text; got None"),
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


def test_a_ranking_that_changes_with_its_depth_gives_each_passage_once():
    # As hybrid ones do: what both first stages find late overtakes what one of them found early.
    shuffle = random.Random(0).shuffle
    rankings = [list(range(60)), list(range(60))]
    for ranking in rankings:
        shuffle(ranking)

    def fetch(depth):
        fused = reciprocal_rank_fusion([ranking[:depth] for ranking in rankings])
        return list(fused.items())[:depth]

    found, looked_at = filtered(
        fetch,
        15,
        lambda metadata: metadata["third"],
        lambda keys: {k: {"third": k % 3 == 0} for k in keys},
    )
    assert found == [hit for hit in fetch(60) if hit[0] % 3 == 0][:15]
    assert looked_at == 60


def test_metadata_are_looked_up_some_at_a_time():
    sizes = []

    def metadata_of(keys):
        sizes.append(len(keys))
        return {}

    hits = [(key, 1.0) for key in range(3_000)]
    assert filtered(lambda depth: hits[:depth], 100, lambda metadata: True, metadata_of) == (
        [],
        3_000,
    )
    assert sum(sizes) == 3_000
    assert max(sizes) <= 256


@pytest.mark.parametrize(("year", "expected"), [("2021", True), ("1999", False), ("soon", False)])
def test_text_that_reads_as_a_number_is_ordered_as_one(year, expected):
    assert predicate_of({"year": {"$gte": 2020}})({"year": year}) is expected
