"""States of stored passages, as the reranker scores them."""

import pytest
import torch

from kalm_reranker.errors import DamagedStoreError, InvalidRatioError, UnknownPassageError
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.store.sqlite_store import STORE_FILE
from tests.index.conftest import PASSAGES

TEXTS = {passage["id"]: passage["text"] for passage in PASSAGES}
IDS = ["tokyo", "beijing", "long", "empty", "gravity"]


@pytest.mark.parametrize("ratio", [None, 2, 8])
def test_they_are_those_that_encoding_gives_in_the_order_of_the_ids(index, reranker, ratio):
    options = {} if ratio is None else {"compression_ratio": ratio}
    for _ in range(2):  # from the store, and from the hot tier
        states = index.states(IDS, **options)
        expected = reranker.encode([TEXTS[name] for name in IDS], **options)
        assert states.compression_ratio == (ratio or 2)
        assert states.token_counts == expected.token_counts
        assert states.truncated == expected.truncated
        assert states.slots.dtype == reranker.dtype
        torch.testing.assert_close(states.slots, expected.slots, rtol=0, atol=1e-4)


def test_no_ids_no_states(index):
    assert len(index.states([])) == 0


def test_a_second_query_finds_keys_and_values(index, reranker):
    states = index.states(IDS)
    first = reranker.score("a capital", states)
    before = reranker.prefix_cache_stats
    assert reranker.score("a capital", index.states(IDS)) == first
    after = reranker.prefix_cache_stats
    assert after.hits - before.hits == len(IDS)
    assert after.misses == before.misses


def test_a_ratio_that_is_no_multiple_is_refused(index):
    with pytest.raises(InvalidRatioError, match="multiple of 2"):
        index.states(IDS, compression_ratio=3)


def test_an_unknown_id_is_named(index):
    with pytest.raises(UnknownPassageError, match="'nobody'"):
        index.states(["tokyo", "nobody"])
    with pytest.raises(UnknownPassageError, match="'nobody'"):
        index.token_counts(["tokyo", "nobody"])


def test_token_counts_are_those_of_the_states(index):
    assert index.token_counts(IDS) == list(index.states(IDS).token_counts)
    assert index.token_counts(reversed(IDS)) == list(index.states(IDS).token_counts)[::-1]


def change_between(index, monkeypatch, change):
    """Has the index change after ids were looked up and before states are read, once."""
    look_up = index._store.keys_of

    def looked_up(ids):
        keys = look_up(ids)
        monkeypatch.setattr(index._store, "keys_of", look_up)
        change()
        return keys

    monkeypatch.setattr(index._store, "keys_of", looked_up)


def test_what_is_deleted_before_it_is_read_is_unknown(index, monkeypatch):
    change_between(index, monkeypatch, lambda: index.delete("tokyo"))
    with pytest.raises(UnknownPassageError, match="'tokyo'"):
        index.states(IDS)


def test_what_is_made_anew_before_it_is_read_is_read_anew(index, reranker, monkeypatch):
    index.states(IDS)  # the old ones are in the hot tier

    def make_anew():
        index.delete("tokyo")
        index.add([("tokyo", "Another text.")])

    change_between(index, monkeypatch, make_anew)
    states = index.states(IDS)
    assert states.token_counts[0] == reranker.encode(["Another text."]).token_counts[0]


def test_what_is_replaced_is_read_anew(index, reranker):
    index.states(IDS)
    index.add([("tokyo", "Another text.")])
    expected = reranker.encode(["Another text."])
    torch.testing.assert_close(index.states(["tokyo"]).slots, expected.slots, rtol=0, atol=1e-4)


def test_damage_is_never_scored(index, reranker, tmp_path):
    (key,) = index._store.keys_of(["tokyo"]).values()
    slots = index._store.read_states([key]).found[key].slots
    index.close()
    path = tmp_path / "index" / STORE_FILE
    content = bytearray(path.read_bytes())
    content[content.find(slots[:64])] ^= 1
    path.write_bytes(content)
    with PassageIndex.open(tmp_path / "index", reranker) as damaged:
        assert len(damaged.states(["beijing", "long"])) == 2
        with pytest.raises(DamagedStoreError, match="is damaged"):
            damaged.states(IDS)
