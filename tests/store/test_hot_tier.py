"""The hot tier keeps to its budget, drops what was not used, and forgets what it is told to."""

import gc
import random
import threading
import tracemalloc

from kalm_reranker.store.hot_tier import HotTier


def held(tier, *keys, kind="k"):
    return sorted(tier.get_many(kind, keys))


def test_it_never_holds_more_than_its_budget():
    tier, generator = HotTier(1000, item_bytes=0), random.Random(1)
    for _ in range(2000):
        tier.put(
            generator.choice("ab"), generator.randrange(50), object(), generator.randrange(400)
        )
        if generator.random() < 0.1:
            tier.discard([generator.randrange(50)])
        stats = tier.stats()
        assert stats.used_bytes <= 1000
    assert stats.num_items > 1
    assert stats.evictions > 0
    tier.discard(range(50))
    assert (tier.stats().used_bytes, tier.stats().num_items) == (0, 0)


def test_what_was_used_last_stays():
    tier = HotTier(30, item_bytes=0)
    for key in (1, 2, 3):
        tier.put("k", key, key, 10)
    assert held(tier, 1) == [1]  # used again
    tier.put("k", 4, 4, 10)
    assert held(tier, 1, 2, 3, 4) == [1, 3, 4]


def test_an_item_larger_than_the_budget_drops_nothing():
    tier = HotTier(30, item_bytes=0)
    tier.put("k", 1, 1, 30)
    tier.put("k", 2, 2, 31)
    assert held(tier, 1, 2) == [1]
    nothing = HotTier(0, item_bytes=0)
    nothing.put("k", 1, 1, 1)
    assert held(nothing, 1) == []


def test_putting_again_replaces_and_counts_once():
    tier = HotTier(30, item_bytes=0)
    tier.put("k", 1, "old", 20)
    tier.put("k", 1, "new", 25)
    assert tier.get_many("k", [1]) == {1: "new"}
    assert (tier.stats().used_bytes, tier.stats().evictions) == (25, 0)


def test_a_discarded_passage_is_gone_in_every_kind():
    tier = HotTier(100, item_bytes=0)
    for kind in ("stored", 8):
        for key in (1, 2):
            tier.put(kind, key, kind, 10)
    tier.discard([1, 99])
    assert held(tier, 1, 2, kind="stored") == held(tier, 1, 2, kind=8) == [2]
    assert tier.stats().invalidations == 2
    tier.clear()
    assert held(tier, 2, kind=8) == []
    assert tier.stats().invalidations == 4


def test_lookups_are_counted():
    tier = HotTier(100, item_bytes=0)
    tier.put("k", 1, 1, 1)
    tier.get_many("k", [1, 2, 3])
    assert (tier.stats().hits, tier.stats().misses) == (1, 2)


def test_threads_leave_its_counts_right():
    tier, failures = HotTier(500, item_bytes=0), []

    def work(seed):
        generator = random.Random(seed)
        try:
            for _ in range(3000):
                key = generator.randrange(40)
                generator.choice(
                    [
                        lambda key=key: tier.put(key % 3, key, key, 30),
                        lambda key=key: tier.get_many(key % 3, [key]),
                        lambda key=key: tier.discard([key]),
                    ]
                )()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    stats = tier.stats()
    assert stats.used_bytes == 30 * stats.num_items <= 500
    for kind in range(3):
        assert all(item == key for key, item in tier.get_many(kind, range(40)).items())


def test_many_small_items_count_what_holding_them_takes():
    tier = HotTier(1_000_000)
    before = measured()
    for key in range(10_000):
        tier.put("k", key, bytes(20), 20)
    assert tier.stats().num_items < 1_500
    assert measured() - before < 1_200_000


def measured():
    if not tracemalloc.is_tracing():
        tracemalloc.start()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
