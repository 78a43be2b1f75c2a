import contextlib
import logging
import math
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalm_reranker.errors import InvalidOptionError, MissingExtraError, StoreError
from kalm_reranker.search import tantivy_writing
from kalm_reranker.search.sync_report import SyncReport
from kalm_reranker.search.tantivy_bm25 import TantivyBM25
from tests.search.feeds import DictFeed

TEXTS = {
    11: "Gravity attracts the bodies of the world toward one another.",
    12: "The capital of China is Beijing.",
    13: "The capital of France is Paris, and Paris is on the Seine.",
    14: "",
}


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "store" / "bm25"


@pytest.fixture
def index(directory):
    index = TantivyBM25(directory)
    yield index
    index.close()


def keys(index, query, top_k=10):
    return [key for key, _ in index.search(query, top_k)]


def test_the_passage_with_the_query_words_comes_first(index):
    report = index.sync(DictFeed(TEXTS))
    assert report == SyncReport(added=4, rebuilt=True, reason="there was none")
    assert index.english
    assert index.num_docs == 4
    assert keys(index, "What is the capital of China?") == [12, 13]
    assert keys(index, "attracted body") == [11]


def test_only_passages_that_share_a_term_are_returned(index):
    index.sync(DictFeed(TEXTS))
    for query in ("zebra", "the of", "", " \n", "?!", "\0"):
        assert index.search(query, 5) == []


def test_scores_follow_the_formula(directory):
    index = TantivyBM25(directory, language="other")
    index.sync(DictFeed({1: "x y", 2: "z y"}))
    idf = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    [(key, score)] = index.search("x", 5)
    assert key == 1
    # Both passages have the average length; k1 is 1.2.
    assert score == pytest.approx(idf * 2.2 / (1 + 1.2), rel=1e-6)
    [(_, repeated)] = index.search("x X x", 5)
    assert repeated == pytest.approx(3 * score, rel=1e-6)
    index.close()


@pytest.mark.parametrize("order", [range(1, 301), range(300, 0, -1)])
def test_ties_keep_the_smaller_keys_whatever_the_order_of_writing(index, order):
    feed = DictFeed({key: "red fox" for key in order})
    index.sync(feed)
    for key in (7, 300, 2):
        feed.put(key, "red fox")
        index.sync(feed)
    assert keys(index, "fox", 5) == [1, 2, 3, 4, 5]
    assert len({score for _, score in index.search("fox", 400)}) == 1
    for top_k in (299, 300, 301, 10**15):
        assert keys(index, "fox", top_k) == list(range(1, min(top_k, 300) + 1))


def test_a_passage_is_replaced_deleted_and_comes_again(index):
    feed = DictFeed(TEXTS | {key: f"filler text {key}" for key in range(100, 120)})
    index.sync(feed)
    feed.put(12, "Mount Everest is high.")
    feed.delete(13)
    assert index.is_behind(feed)
    assert index.sync(feed) == SyncReport(added=1, deleted=1)
    assert not index.is_behind(feed)
    assert index.synced_change == feed.last_change()
    assert keys(index, "capital of China or France") == []
    assert keys(index, "everest") == [12]
    feed.put(15, "Lyon, no capital.")
    feed.delete(15)
    feed.put(16, "The capital of Chile.")
    index.sync(feed)
    assert keys(index, "capital") == [16]
    assert index.num_docs == feed.num_passages() == 24
    assert index.sync(feed) == SyncReport()


def test_changes_are_kept_across_opening(directory):
    feed = DictFeed(TEXTS)
    for round_ in range(12):  # enough for tantivy to merge segments
        feed.put(1000 + round_, f"zebra number {round_}")
        index = TantivyBM25(directory)
        assert index.sync(feed).rebuilt == (round_ == 0)
        index.close()
    index = TantivyBM25(directory)
    assert not index.is_behind(feed)
    assert len(index.search("zebra", 100)) == 12
    index.close()


def test_many_changes_are_made_durable_in_parts(index, monkeypatch):
    monkeypatch.setattr(tantivy_writing, "_CHANGES_PER_COMMIT", 10)
    feed = DictFeed({1: "first"})
    index.sync(feed)
    for key in range(2, 57):
        feed.put(key, f"word{key} common")
    feed.delete(1)
    done = []
    assert index.sync(feed, on_progress=done.append) == SyncReport(added=55, deleted=1)
    assert sum(done) == 56
    assert len(index.search("common", 100)) == 55
    assert not index.is_behind(feed)


def test_an_error_of_the_store_comes_through_and_leaves_what_was(index, directory):
    class Broken(Exception):
        pass

    feed = DictFeed(TEXTS)
    index.sync(feed)

    class BrokenFeed(DictFeed):
        def changes_since(self, change):
            yield from super().changes_since(change)
            raise Broken

    for store_id in (feed.store_id, "other"):
        broken = BrokenFeed(TEXTS, store_id=store_id)
        broken.put(50, "zebra")
        with pytest.raises(Broken):
            index.sync(broken)
        assert [path.name for path in directory.iterdir() if path.is_dir()] != []
    with contextlib.closing(TantivyBM25(directory)) as other:
        assert keys(other, "capital China") == [12, 13]
    feed.put(50, "zebra")
    assert not index.sync(feed).rebuilt
    assert keys(index, "zebra") == [50]


def test_changes_made_while_it_syncs_come_next_time(index):
    class BusyFeed(DictFeed):
        def changes_since(self, change):
            for number, item in enumerate(super().changes_since(change)):
                if number == 1:
                    self.put(item.key, "zebra")
                    self.put(99, "zebra")
                yield item
            yield from super().changes_since(self._last - 2)

    feed = BusyFeed(TEXTS)
    index.sync(feed)
    assert index.num_docs == 4
    assert index.is_behind(feed)
    feed.changes_since = super(BusyFeed, feed).changes_since
    index.sync(feed)
    assert keys(index, "zebra") == [12, 99]
    assert index.num_docs == 5


def test_an_index_of_another_store_is_rebuilt(directory, caplog):
    index = TantivyBM25(directory)
    index.sync(DictFeed(TEXTS))
    other = DictFeed({1: "zebra", 2: "yak", 3: "x", 4: "y", 5: "z"})
    report = index.sync(other)
    assert (report.rebuilt, report.reason) == (True, "it belongs to another store")
    assert keys(index, "capital") == []
    assert keys(index, "zebra") == [1]
    index.close()


def test_a_store_restored_from_an_older_copy_is_noticed(index):
    feed = DictFeed(TEXTS)
    feed.put(15, "zebra")
    index.sync(feed)
    restored = DictFeed(TEXTS, store_id=feed.store_id)
    assert index.sync(restored).reason == "the store is an older copy of itself"
    assert keys(index, "zebra") == []


def test_an_empty_store_is_in_step_and_grows(index):
    feed = DictFeed()
    assert index.synced_change == 0
    assert index.is_behind(feed)
    index.sync(feed)
    assert not index.is_behind(feed)
    assert index.search("x", 3) == []
    feed.put(1, "x")
    index.sync(feed)
    assert keys(index, "x") == [1]
    feed.delete(1)
    index.sync(feed)
    assert (index.search("x", 3), index.num_docs) == ([], 0)


def test_before_the_first_sync_nothing_is_found_or_written(index, directory):
    assert index.search("x", 3) == []
    assert (index.num_docs, index.english) == (0, False)
    assert not directory.exists()


# Languages


def test_scripts_without_spaces_are_found_by_their_parts(index):
    feed = DictFeed(
        {
            1: "北京是中国的首都",
            2: "黑豹队的防守只丢了308分",
            3: "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
            4: "東京は日本の首都です",
        }
    )
    index.sync(feed)
    assert not index.english
    assert keys(index, "中国首都是哪里")[0] == 1
    assert keys(index, "เมืองหลวงของไทย") == [3]
    assert keys(index, "308")[0] == 2 or keys(index, "308分")[0] == 2
    assert keys(index, "日本")[0] == 4


def test_the_language_is_decided_again_when_the_store_has_doubled(index):
    feed = DictFeed({1: "Die Katze schläft auf dem Sofa.", 2: "Der Hund bellt den Mond an."})
    index.sync(feed)
    assert not index.english
    feed.put(3, "The cat sleeps on the sofa, and the dog barks at the moon in the night.")
    assert not index.sync(feed).rebuilt  # one and a half times
    assert not index.english
    for key in range(4, 8):
        feed.put(key, "These are the days that the world was to see, and it is as it was.")
    report = index.sync(feed)
    assert (report.rebuilt, report.reason) == (True, "its passages were of another language")
    assert index.english
    assert keys(index, "sleeping") == [3]


def test_a_language_decided_on_enough_passages_stays(index):
    feed = DictFeed({key: "der Hund und die Katze" for key in range(1, 1100)})
    index.sync(feed)
    for key in range(2000, 6000):
        feed.put(key, "the dog and the cat are in the house")
    assert not index.sync(feed).rebuilt
    assert not index.english


def test_a_language_given_rebuilds_an_index_of_another(directory):
    feed = DictFeed(TEXTS)
    for language, english, rebuilt in (
        ("auto", True, True),
        ("english", True, False),
        ("other", False, True),
        ("auto", True, True),
    ):
        index = TantivyBM25(directory, language=language)
        assert index.sync(feed).rebuilt == rebuilt, language
        assert index.english == english
        assert bool(keys(index, "attracting")) == english
        index.close()


# Hostile texts


def test_long_terms_and_nul_characters_are_found(index):
    feed = DictFeed(
        {
            1: "a" * 30_000,
            2: "é" * 60_000,  # 120,000 bytes, more than a term of tantivy's can have
            3: "left\0right \x1c\x85\u2028\u3000 end",
            4: "word " * 30_000,
            5: "٣" * 65_535 + " \ud7ff\U0001f600 \u0300",
        }
    )
    index.sync(feed)
    assert keys(index, "a" * 30_000) == [1]
    assert keys(index, "é" * 60_000) == [2]
    assert keys(index, "é" * 50_000) == [2]  # both cut at the same place
    assert keys(index, "left") == keys(index, "right") == keys(index, "end") == [3]
    assert keys(index, "word") == [4]
    assert index.num_docs == 5


def test_a_query_of_many_terms(index):
    index.sync(DictFeed(TEXTS))
    query = "capital " * 10 + " ".join(f"word{number}" for number in range(5_000))
    assert keys(index, query) == [12, 13]


def test_keys_of_63_bits(index):
    largest = 2**63 - 1
    feed = DictFeed({largest: "zebra", 2**53 + 1: "zebra", 1: "filler", 2: "filler", 3: "filler"})
    index.sync(feed)
    assert keys(index, "zebra") == [2**53 + 1, largest]
    feed.delete(largest)
    index.sync(feed)
    assert keys(index, "zebra") == [2**53 + 1]


# Options


@pytest.mark.parametrize("top_k", [0, -1, 1.5, True])
def test_top_k_must_be_positive(index, top_k):
    with pytest.raises(InvalidOptionError, match="top_k must be a positive integer"):
        index.search("x", top_k)


def test_an_unknown_language_is_refused(directory):
    with pytest.raises(InvalidOptionError, match="language must be one of"):
        TantivyBM25(directory, language="klingon")


def test_a_missing_extra_is_named_when_it_is_opened(directory, monkeypatch):
    def find_nothing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("kalm_reranker.extras.import_module", find_nothing)
    with pytest.raises(MissingExtraError, match=r'pip install "kalm-reranker\[search\]"'):
        TantivyBM25(directory)


def test_a_closed_index_says_so(directory):
    index = TantivyBM25(directory)
    index.sync(DictFeed(TEXTS))
    index.close()
    index.close()
    with pytest.raises(StoreError, match="was closed"):
        index.search("capital", 3)


def test_threads_search_while_another_syncs(index):
    feed = DictFeed({key: f"common word{key}" for key in range(1, 200)})
    index.sync(feed)
    failures = []
    stop = threading.Event()

    def search():
        while not stop.is_set():
            if len(index.search("common", 10)) != 10:
                failures.append("too few")

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for key in range(200, 215):
            feed.put(key, f"common word{key}")
            index.sync(feed)
        feed.store_id = "other"
        index.sync(DictFeed({key: "common" for key in range(1, 50)}, store_id=feed.store_id))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == [] or index.num_docs == 49


WORDS = ("fox", "the", "北京", "zebra", "ไทย", "x")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "delete", "sync", "reopen"]),
        st.integers(1, 6),
        st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join),
    ),
    max_size=25,
)


@settings(max_examples=25)
@given(STEPS)
def test_an_index_that_caught_up_equals_a_new_one(tmp_path_factory, steps):
    tmp_path = tmp_path_factory.mktemp("equal")
    feed = DictFeed()
    index = TantivyBM25(tmp_path / "old", language="other")
    for step, key, text in steps:
        if step == "put":
            feed.put(key, text)
        elif step == "delete":
            feed.delete(key)
        elif step == "sync":
            index.sync(feed)
        else:
            index.close()
            index = TantivyBM25(tmp_path / "old", language="other")
    index.sync(feed)
    fresh = TantivyBM25(tmp_path / "new", language="other")
    fresh.sync(feed)
    assert index.num_docs == fresh.num_docs == feed.num_passages()
    for word in WORDS:
        found = {key for key, _ in index.search(word, 100)}
        assert found == {key for key, _ in fresh.search(word, 100)}
        assert found == {key for key, text in feed.live().items() if word in text.split()}
    index.close()
    fresh.close()


def test_nothing_alarming_is_logged_when_all_is_well(directory, caplog):
    caplog.set_level(logging.INFO, logger="kalm_reranker")
    feed = DictFeed(TEXTS)
    for key in range(100, 103):
        feed.put(key, "more")
        index = TantivyBM25(directory)
        index.sync(feed)
        index.close()
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "there was none" in caplog.text
