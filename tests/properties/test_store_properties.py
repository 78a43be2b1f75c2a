"""Whatever is done to a store, in whatever order: it is a dict that lives in a file."""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from kalm_reranker.model.pooling import num_slots, repool_slots
from kalm_reranker.store.checksums import text_hash
from kalm_reranker.store.codecs import codec_named
from kalm_reranker.store.hot_tier import HotTier
from kalm_reranker.store.records import EncodedPassage
from kalm_reranker.store.sqlite_store import SQLiteStore
from kalm_reranker.store.states_reader import StatesReader
from tests.store.headers import a_header

WIDTH, RATIO = 4, 2
# Short here, long in the store: failing examples stay readable.
LONG = {"long id": "x" * 10_000, "long text": "word " * 4_000}
IDS = ["a", "b", "line\nbreak", "nul\0inside", "nul\0", "🦀", "\u00e9", "e\u0301", " ", "A", "0"]
ids = st.sampled_from([*IDS, "long id"]).map(lambda name: LONG.get(name, name))
texts = st.sampled_from(["", " ", "plain", "nul\0text", "two\nlines", "🦀 crab", "long text"]).map(
    lambda text: LONG.get(text, text)
)
metadata = st.sampled_from([None, '{"n":1}', '{"note":"nul\\u0000"}', '{"note":"é"}'])
token_counts = st.integers(1, 9)
passages = st.tuples(ids, texts, metadata, token_counts, st.booleans())


def encoded(name, text, metadata, token_count, truncated):
    """A passage whose states follow from its text and its number of tokens."""
    seed = int.from_bytes(text_hash(text)[:4], "little") + token_count
    generator = torch.Generator().manual_seed(seed)
    slots = torch.randn(num_slots(token_count, RATIO), WIDTH, generator=generator)
    return EncodedPassage(
        id=name,
        text=text,
        metadata=metadata,
        text_hash=text_hash(text),
        token_count=token_count,
        truncated=truncated,
        slots=codec_named("float32").encode(slots).numpy().tobytes(),
    )


class Handle:
    """A store as one process has it open, with a hot tier of its own."""

    def __init__(self, folder, hot_bytes):
        self.store = SQLiteStore(folder)
        self.hot = HotTier(hot_bytes)
        self.reader = StatesReader(self.store, self.hot, torch.float32)


class StoreIsADict(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="kalm-store-"))
        self.expected = {}  # id -> EncodedPassage
        self.keys = {}  # id -> key, while it lives
        self.given = set()  # all keys ever
        self.derived, self.derived_change = {}, 0  # key -> text, as BM25 would have it

    @initialize()
    def create(self):
        header = a_header(width=WIDTH, compression_ratio=RATIO, codec="float32")
        SQLiteStore.create(self.folder / "store", header).close()
        # One hot tier that holds all, one that evicts all the time.
        self.handles = [self.opened(2**20), self.opened(200)]

    def opened(self, hot_bytes):
        return Handle(self.folder / "store", hot_bytes)

    def teardown(self):
        for handle in self.handles:
            handle.store.close()
        shutil.rmtree(self.folder)

    @rule(batch=st.lists(passages, max_size=6), which=st.integers(0, 1))
    def put(self, batch, which):
        batch = [encoded(*values) for values in batch]
        self.handles[which].store.put_many(batch)
        self.expected |= {passage.id: passage for passage in batch}

    @rule(names=st.lists(ids, max_size=4), which=st.integers(0, 1))
    def delete(self, names, which):
        count = self.handles[which].store.delete(names)
        gone = set(names) & self.expected.keys()
        assert count == len(gone)
        for name in gone:
            del self.expected[name]
            self.keys.pop(name, None)

    @rule(names=st.lists(ids, max_size=3, unique=True), value=metadata, which=st.integers(0, 1))
    def set_metadata(self, names, value, which):
        store = self.handles[which].store
        keys = store.keys_of(names)
        store.set_metadata([*((key, value) for key in keys.values()), (10**6, value)])
        for name in keys:
            old = self.expected[name]
            values = (old.text, value, old.token_count, old.truncated)
            self.expected[name] = encoded(name, *values)

    @rule(which=st.integers(0, 1))
    def reopen(self, which):
        self.handles[which].store.close()
        self.handles[which] = self.opened(self.handles[which].hot.stats().budget_bytes)

    @rule(which=st.integers(0, 1))
    def close_and_go_on(self, which):
        self.handles[which].store.close()

    @rule(which=st.integers(0, 1))
    def compact(self, which):
        self.handles[which].store.compact()

    @invariant()
    def the_hot_tier_is_never_stale(self):
        for handle in self.handles:
            for ratio in (RATIO, 2 * RATIO):
                self.read_through_the_hot_tier(handle, ratio)

    def read_through_the_hot_tier(self, handle, ratio):
        keys = handle.store.keys_of(list(self.expected))
        read = handle.reader.read([*keys.values(), 10**6], ratio)
        assert read.missing == (10**6,)
        assert not read.damaged
        names = {key: name for name, key in keys.items()}
        assert set(read.keys) == set(keys.values())
        for index, key in enumerate(read.keys):
            passage = self.expected[names[key]]
            stored = torch.frombuffer(bytearray(passage.slots), dtype=torch.float32)
            one = read.states[index]
            assert (one.token_counts, one.truncated) == (
                (passage.token_count,),
                (passage.truncated,),
            )
            slots = stored.view(-1, WIDTH)
            if ratio != RATIO:
                slots = repool_slots(slots, [passage.token_count], RATIO, ratio)
            assert torch.equal(one.slots, slots)

    @rule(which=st.integers(0, 1))
    def catch_up(self, which):
        """What is derived from changes alone has the same texts."""
        store = self.handles[which].store
        last, number = store.last_change(), self.derived_change
        changed = store.changed_keys_since(self.derived_change, 10_000)
        for change in store.changes_since(self.derived_change):
            assert change.change > number
            number = change.change
            if self.derived_change:
                assert change.key in changed
            if change.text is None:
                self.derived.pop(change.key, None)
            else:
                self.derived[change.key] = change.text
        self.derived_change = last
        keys = store.keys_of(list(self.expected))
        assert self.derived == {key: self.expected[name].text for name, key in keys.items()}

    @invariant()
    def equals_the_dict(self):
        for handle in self.handles:
            store = handle.store
            keys = list(store.keys())
            assert keys == sorted(keys)
            read, states = store.read_passages(keys), store.read_states(keys)
            found = {}
            for key in keys:
                passage, record = read.found[key], states.found[key]
                found[passage.id] = EncodedPassage(
                    id=passage.id,
                    text=passage.text,
                    metadata=self.expected[passage.id].metadata,
                    text_hash=passage.text_hash,
                    token_count=record.token_count,
                    truncated=record.truncated,
                    slots=record.slots,
                )
                assert passage.metadata == json.loads(self.expected[passage.id].metadata or "{}")
            assert found == self.expected
            known = store.known(list(self.expected))
            assert {name: item.metadata for name, item in known.items()} == {
                name: item.metadata for name, item in self.expected.items()
            }
            counts = store.counts()
            assert counts.num_passages == store.num_passages() == len(self.expected)
            assert counts.num_tokens == sum(p.token_count for p in self.expected.values())
            assert counts.num_truncated == sum(p.truncated for p in self.expected.values())

    @invariant()
    def keys_are_for_life(self):
        store = self.handles[0].store
        keys = store.keys_of(list(self.expected))
        for name, key in keys.items():
            if name in self.keys:
                assert self.keys[name] == key
            else:
                assert key not in self.given, "a key was given twice"
        self.keys = keys
        self.given |= set(keys.values())

    @invariant()
    def is_sound(self):
        report = self.handles[1].store.verify()
        assert report.ok, report
        assert report.num_passages == len(self.expected)


TestStoreIsADict = StoreIsADict.TestCase
TestStoreIsADict.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
