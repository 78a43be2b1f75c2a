"""What a service counts has names that metrics know, and numbers that can be added up."""

import pytest

from kalm_reranker.server.metrics_counts import MEASURED_ELSEWHERE, known_counts
from tests.server.held import call_of, score
from tests.server.small_service import QUERY, Small


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Small(tmp_path_factory.mktemp("small"))


@pytest.mark.parametrize("with_index", [True, False])
@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_every_count_has_a_metric(small, tmp_path, with_index, cache_bytes):
    index = small.index(tmp_path / "index") if with_index else None
    reranker = None if with_index else small.load(prefix_cache_bytes=cache_bytes)
    with small.service(index, reranker=reranker, text_cache_bytes=cache_bytes) as service:
        counts = service.counts()
        assert set(counts) <= known_counts() | MEASURED_ELSEWHERE
        assert all(isinstance(value, int | float) for value in counts.values())
        score(service, call_of(QUERY, ["a text", "another"]))
        after = service.counts()
    assert counts.keys() == after.keys()
    assert ("index_passages" in counts) == ("hot_tier_hits" in counts) == with_index
    assert ("prefix_cache_hits" in counts) == (with_index or cache_bytes > 0)
    # None of what only grows has become less.
    gauges = ("bytes", "items", "passages")
    assert all(after[name] >= value for name, value in counts.items() if not name.endswith(gauges))
    assert after["text_cache_items"] == (2 if cache_bytes else 0)
