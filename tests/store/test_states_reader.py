"""States through the hot tier: from memory where they are true, from the file where not."""

import struct

import pytest
import torch

from kalm_reranker.errors import InvalidRatioError
from kalm_reranker.store.hot_tier import HotTier
from kalm_reranker.store.sqlite_store import SQLiteStore
from kalm_reranker.store.states_reader import StatesReader


def slots(value):
    """Two slots of one value."""
    return struct.pack("<8f", *[value] * 8)


def value_of(reader, key, ratio=None):
    """The value of a passage's slots, as the reader has them."""
    (value,) = set(reader.read([key], ratio).states.slots.flatten().tolist())
    return value


@pytest.fixture
def reader(store):
    return StatesReader(store, HotTier(2**20), torch.float32)


def test_what_was_read_comes_from_memory_until_it_changes(store, reader, passage):
    store.put_many([passage("a", slots=slots(1.0)), passage("b", slots=slots(2.0))])
    cold, hot = reader.read([1, 2]), reader.read([2, 1])
    assert (cold.num_hot, hot.num_hot) == (0, 2)
    assert cold.num_bytes == 64
    assert hot.num_bytes == 0
    assert hot.keys == (2, 1)
    other = SQLiteStore(store.path.parent)
    other.put_many([passage("a", slots=slots(3.0))])
    other.close()
    read = reader.read([1, 2])
    assert (read.num_hot, read.keys) == (1, (1, 2))
    assert value_of(reader, 1) == 3.0
    assert value_of(reader, 1, 6) == 3.0


def test_what_was_read_before_a_change_is_not_kept_after_it(store, passage):
    """A slow read meets a change that another thread has noticed already."""

    class SlowStore(SQLiteStore):
        is_slow = True

        def read_states(self, keys):
            read = super().read_states(keys)
            if self.is_slow and 1 in keys:
                self.is_slow = False
                self.put_many([passage("a", slots=slots(3.0))])
                reader.read([2])  # notices the change, and forgets what it knew of it
            return read

    for ratio in (None, 6):
        store.put_many([passage("a", slots=slots(1.0)), passage("b")])
        slow = SlowStore(store.path.parent)
        reader = StatesReader(slow, HotTier(2**20), torch.float32)
        assert value_of(reader, 1, ratio) == 1.0  # it began before the change
        assert value_of(reader, 1, ratio) == 3.0
        slow.close()


def test_more_changes_than_are_listed_empty_it(store, reader, passage, monkeypatch):
    monkeypatch.setattr("kalm_reranker.store.states_reader._MOST_CHANGES", 2)
    store.put_many([passage(name, slots=slots(1.0)) for name in "abcd"])
    reader.read([1, 2, 3, 4])
    store.put_many([passage(name, slots=slots(2.0)) for name in "abc"])
    assert [value_of(reader, key) for key in (1, 2, 3, 4)] == [2.0, 2.0, 2.0, 1.0]
    assert reader.read([4]).num_hot == 1


def test_damaged_and_missing_ones_are_told_apart_and_never_kept(store, reader, passage):
    store.put_many([passage(name, slots=slots(1.0)) for name in "ab"])
    connection = store._connections.writer()
    connection.execute("UPDATE states SET slots = zeroblob(32) WHERE key = 1")
    for ratio in (None, 4, None):
        read = reader.read([1, 2, 3], ratio)
        assert read.keys == (2,)
        assert read.missing == (3,)
        assert [damage.key for damage in read.damaged] == [1]
        nothing = reader.read([1, 3], ratio)
        assert (nothing.keys, len(nothing.states)) == ((), 0)


def test_only_multiples_of_the_base_ratio_can_be_read(store, reader, passage):
    store.put_many([passage("a")])
    assert reader.read([1], 4).states.compression_ratio == 4
    with pytest.raises(InvalidRatioError, match="must be a multiple of 2"):
        reader.read([1], 3)
