"""The prefix cache: the same margins, under a byte budget, from any number of threads."""

import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from kalm_reranker import KaLMReranker
from kalm_reranker.engine.key_value_arena import ROWS
from kalm_reranker.engine.prefix_cache import PrefixCache
from kalm_reranker.errors import InvalidOptionError, NonFiniteScoreError, OutOfMemoryError
from kalm_reranker.model import softmax_attention

DOCUMENTS = [
    "The capital of China is Beijing.",
    "Gravity attracts bodies toward one another. " * 3,
    "Paris is the capital of France and lies on the Seine.",
    "A recipe for bread: flour, water, salt and time. " * 8,
    "Beijing has been the capital for most of the last seven centuries. " * 5,
]
QUERIES = ["What is the capital of China?", "How do I bake bread at home?", "gravity"]


@pytest.fixture(scope="module")
def reranker() -> KaLMReranker:
    return KaLMReranker("pico", dtype="float32")


@pytest.fixture(scope="module")
def without() -> KaLMReranker:
    return KaLMReranker("pico", dtype="float32", prefix_cache_bytes=0)


def margins(reranker, query, states, instruction=None):
    scored = reranker.score(query, states, instruction, return_margin=True)
    return [pair.margin for pair in scored]


def cache_of(reranker) -> PrefixCache:
    cache = reranker._pipeline.cache
    assert cache is not None
    return cache


def test_margins_are_those_without_it_and_stay_the_same_bits(reranker, without):
    states = reranker.encode(DOCUMENTS)
    before = reranker.prefix_cache_stats
    for query in QUERIES:
        first = margins(reranker, query, states)
        assert margins(reranker, query, states) == first
        np.testing.assert_allclose(first, margins(without, query, states), atol=2e-5)
    after = reranker.prefix_cache_stats
    assert after.misses - before.misses == len(DOCUMENTS)
    assert after.hits - before.hits == (2 * len(QUERIES) - 1) * len(DOCUMENTS)
    assert without.prefix_cache_stats is None


def test_an_identical_request_has_identical_bits_whatever_was_dropped_between(without):
    reranker = KaLMReranker("pico", dtype="bfloat16")
    states = reranker.encode(DOCUMENTS)
    first = margins(reranker, QUERIES[0], states)
    cache_of(reranker).clear()
    margins(reranker, QUERIES[0], states[[3]])  # held again, and alone
    assert margins(reranker, QUERIES[0], states) == first


def kept(reranker, states, query) -> list[torch.Tensor]:
    """Keys and values [L, 2, R, G, K] that are kept of each passage after a query."""
    margins(reranker, query, states)
    cache = cache_of(reranker)
    entries = {identity: entry for (_, (identity, _)), entry in cache._entries.items()}
    return [
        cache._arena._data[:, :, entry.blocks].flatten(2, 3)[:, :, : entry.num_rows].clone()
        for entry in (entries[identity] for identity in states.identities)
    ]


@pytest.mark.parametrize("engine", ["eager", "auto"])
@pytest.mark.parametrize("most_score_bytes", [None, 2**17])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_kept_of_a_passage_does_not_depend_on_its_company(
    monkeypatch, engine, dtype, most_score_bytes
):
    # Passages of a slot or two, whose products have few rows; and groups whose attention scores
    # are too many for the kernel that takes those of one passage.
    if most_score_bytes is not None:
        monkeypatch.setattr(softmax_attention, "_MOST_SCORE_BYTES", most_score_bytes)
    reranker = KaLMReranker("pico", dtype=dtype, engine=engine)
    states = reranker.encode(["a", "", *QUERIES, *DOCUMENTS], compression_ratio=8)
    assert min(states.slot_counts) == 1
    together = kept(reranker, states, QUERIES[0])
    for number, keys_values in enumerate(together):
        cache_of(reranker).clear()
        (alone,) = kept(reranker, states[[number]], QUERIES[0])
        assert torch.equal(alone, keys_values), number


def test_damaged_states_harm_no_other_passage(reranker):
    # NaN behind a mask is NaN all the same, so it must not lie where padding is read.
    states = reranker.encode(DOCUMENTS)
    expected = margins(reranker, QUERIES[0], states)
    damaged = reranker.encode(["too short to fill its last block"])
    damaged.slots[:] = torch.nan
    with pytest.raises(NonFiniteScoreError):
        margins(reranker, QUERIES[0], damaged)
    assert margins(reranker, QUERIES[0], states) == expected


def test_another_instruction_or_ratio_is_another_entry(reranker, without):
    states = reranker.encode(DOCUMENTS)
    coarse = states.repool(4 * reranker.compression_ratio)
    instruction = "Given a claim, find documents that refute it."
    margins(reranker, QUERIES[0], states)
    for some, words in ((states, instruction), (coarse, None), (coarse, instruction)):
        before = reranker.prefix_cache_stats
        np.testing.assert_allclose(
            margins(reranker, QUERIES[0], some, words),
            margins(without, QUERIES[0], some, words),
            atol=2e-5,
        )
        assert reranker.prefix_cache_stats.misses - before.misses == len(DOCUMENTS)


def test_parts_of_states_are_found_again(reranker):
    states = reranker.encode(DOCUMENTS)
    whole = margins(reranker, QUERIES[0], states)
    before = reranker.prefix_cache_stats
    part = states[[4, 1]]
    np.testing.assert_allclose(margins(reranker, QUERIES[0], part), [whole[4], whole[1]], atol=2e-5)
    assert reranker.prefix_cache_stats.misses == before.misses


def test_texts_are_scored_without_it(reranker):
    before = reranker.prefix_cache_stats
    reranker.rank(QUERIES[0], DOCUMENTS)
    assert reranker.prefix_cache_stats == before


def test_the_budget_holds_and_the_oldest_go_first():
    reranker = KaLMReranker("pico", dtype="float32", prefix_cache_bytes=12 * 2**20)
    states = reranker.encode([f"{text} {number}" for number in range(30) for text in DOCUMENTS])
    expected = margins(
        KaLMReranker("pico", dtype="float32", prefix_cache_bytes=0), "gravity", states
    )
    for _ in range(2):
        np.testing.assert_allclose(margins(reranker, "gravity", states), expected, atol=2e-5)
        stats = reranker.prefix_cache_stats
        assert 0 < stats.used_bytes <= stats.budget_bytes
        assert stats.evictions > 0
        assert stats.bytes_per_passage == stats.used_bytes / stats.num_passages
    # What was used last is held: batches go from long passages to short ones.
    used = sorted(range(len(states)), key=lambda index: (-states.slot_counts[index], index))
    before = reranker.prefix_cache_stats
    margins(reranker, "gravity", states[used[-3:]])
    after = reranker.prefix_cache_stats
    assert (after.hits, after.misses) == (before.hits + 3, before.misses)
    margins(reranker, "gravity", states[used[:3]])
    assert reranker.prefix_cache_stats.misses == before.misses + 3


def test_a_passage_that_takes_too_much_of_the_budget_is_scored_without_it():
    cache = KaLMReranker("pico", dtype="float32", prefix_cache_bytes=2**20)
    states = cache.encode([DOCUMENTS[0], "A long story about bread and water. " * 100])
    before = cache.prefix_cache_stats
    margins(cache, QUERIES[0], states)
    assert cache.prefix_cache_stats.misses == before.misses


def test_a_query_that_merges_with_the_prefix_is_scored_without_it(monkeypatch, without):
    reranker = KaLMReranker("pico", dtype="float32")
    tokenizer = reranker._pipeline.tokenizer
    real = tokenizer.prompt_prefix
    # No text makes this tokenizer merge there, so the remembered prefix is made to differ.
    monkeypatch.setattr(tokenizer, "prompt_prefix", lambda **words: (*real(**words)[:-1], 7))
    states = reranker.encode(DOCUMENTS)
    assert margins(reranker, QUERIES[0], states) == margins(without, QUERIES[0], states)
    assert reranker.stats.prefix_mismatches == 1
    assert reranker.prefix_cache_stats.misses == 0


def test_threads_share_it():
    reranker = KaLMReranker("pico", dtype="float32", prefix_cache_bytes=8 * 2**20)
    states = reranker.encode([f"{text} {number}" for number in range(12) for text in DOCUMENTS])
    expected = {query: margins(reranker, query, states) for query in QUERIES}
    failures = []

    def work(seed):
        picks = torch.randperm(len(states), generator=torch.Generator().manual_seed(seed)).tolist()
        for start in range(0, len(picks), 20):
            part = picks[start : start + 20]
            query = QUERIES[(seed + start) % len(QUERIES)]
            got = margins(reranker, query, states[part])
            if not np.allclose(got, [expected[query][i] for i in part], atol=2e-5):
                failures.append((seed, start))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []
    assert reranker.prefix_cache_stats.evictions > 0


def test_a_failed_forward_pass_leaves_nothing_in_use(monkeypatch):
    reranker = KaLMReranker("pico", dtype="float32")
    states = reranker.encode(DOCUMENTS)
    cache = cache_of(reranker)
    fill = PrefixCache._fill
    calls = []

    def failing(self, entries, prefix, passages):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("no memory")
        fill(self, entries, prefix, passages)

    monkeypatch.setattr(PrefixCache, "_fill", failing)
    with pytest.raises(RuntimeError, match="no memory"):
        margins(reranker, QUERIES[0], states)
    assert not any(entry.users for entry in cache._entries.values())
    assert (
        len(cache._free) + sum(len(e.blocks) for e in cache._entries.values()) == cache.num_blocks
    )
    monkeypatch.undo()
    assert len(margins(reranker, QUERIES[0], states)) == len(states)


def test_unwritten_memory_never_reaches_a_margin(monkeypatch, without):
    # Fresh memory may hold NaN, which a mask does not keep out of a product.
    real = torch.empty

    def poisoned(*args, **kwargs):
        made = real(*args, **kwargs)
        return made.fill_(torch.nan) if made.is_floating_point() else made

    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty", poisoned)
        reranker = KaLMReranker("pico", dtype="float32", prefix_cache_bytes=32 * 2**20)
    states = reranker.encode(DOCUMENTS)
    assert len({-(-(len_ + 1) // ROWS) for len_ in states.slot_counts}) > 1
    np.testing.assert_allclose(
        margins(reranker, QUERIES[0], states), margins(without, QUERIES[0], states), atol=2e-5
    )


@pytest.mark.parametrize("value", [-1, 1.5, "1GB", True])
def test_bad_budgets_are_refused(value):
    with pytest.raises(InvalidOptionError, match="prefix_cache_bytes must be a whole number"):
        KaLMReranker("pico", prefix_cache_bytes=value)


@pytest.mark.parametrize("value", [2**60, 2**70])
def test_a_budget_beyond_all_memory_is_refused(value):
    with pytest.raises(
        OutOfMemoryError, match=f"cannot reserve {value:,} bytes on 'cpu'"
    ) as raised:
        KaLMReranker("pico", prefix_cache_bytes=value)
    assert "smaller prefix_cache_bytes" in str(raised.value)


def test_states_from_another_process_are_never_taken_for_our_own(without):
    # Both processes name what they encode, and neither knows of the other's names.
    code = (
        "import pickle, sys; from kalm_reranker import KaLMReranker;"
        "states = KaLMReranker('pico', dtype='float32').encode(sys.argv[1:]);"
        "sys.stdout.buffer.write(pickle.dumps(states))"
    )
    theirs = DOCUMENTS[2:4]
    done = subprocess.run(
        [sys.executable, "-c", code, *theirs], capture_output=True, check=True, timeout=120
    )
    foreign = pickle.loads(done.stdout)
    reranker = KaLMReranker("pico", dtype="float32")
    ours = reranker.encode(DOCUMENTS[:2])
    margins(reranker, QUERIES[0], ours)
    np.testing.assert_allclose(
        margins(reranker, QUERIES[0], foreign),
        margins(without, QUERIES[0], without.encode(theirs)),
        atol=1e-4,
    )
