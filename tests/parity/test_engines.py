"""Contract 1 for every execution: margins through stored states, with and without the cache."""

import shutil

import numpy as np
import pytest
import torch

from kalm_reranker import KaLMReranker
from kalm_reranker.engine.fused_cpu import why_not_fused
from tests.parity.assertions import assert_close, float32_bound
from tests.parity.pairs import QUERIES, documents
from tests.parity.reference import reference

ENGINES = [
    "eager",
    pytest.param(
        "fused",
        marks=pytest.mark.skipif(
            why_not_fused(torch.float32) is not None, reason=str(why_not_fused(torch.float32))
        ),
    ),
]
CACHE_BYTES = {"cache": 2**28, "no cache": 0}


def stored_margins(reranker, queries, texts, ratio, instruction=None) -> np.ndarray:
    """Margins of all pairs, query by query, from states: the second query finds what is kept."""
    states = reranker.encode(texts, compression_ratio=ratio)
    scored = [reranker.score(query, states, instruction, return_margin=True) for query in queries]
    return np.array([pair.margin for one in scored for pair in one])


@pytest.mark.parametrize("kind", ["grouped", "single_head", "linear_rope", "softcap_bias"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cache", CACHE_BYTES)
@pytest.mark.parametrize("ratio", [None, 4])
def test_float32_margins_from_states_equal_the_reference(checkpoints, kind, engine, cache, ratio):
    texts = [*documents(9), *documents(3, longest=300)]
    queries = QUERIES[:3]
    pairs = [(query, text) for query in queries for text in texts]
    expected, bound = float32_bound(checkpoints[kind], pairs, ratio=ratio)
    reranker = KaLMReranker(
        checkpoints[kind], dtype="float32", engine=engine, prefix_cache_bytes=CACHE_BYTES[cache]
    )
    assert_close(stored_margins(reranker, queries, texts, ratio), expected, bound)
    if cache == "cache":
        assert reranker.prefix_cache_stats.hits == 2 * len(texts)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cache", CACHE_BYTES)
@pytest.mark.parametrize("kind", ["grouped", "linear_rope"])
def test_bfloat16_errors_are_within_twice_the_reference(checkpoints, engine, cache, kind):
    texts, queries = documents(50, longest=60), QUERIES
    pairs = [(query, text) for query in queries for text in texts]
    exact = np.array(reference(checkpoints[kind]).margins(pairs, ratio=4))
    theirs = np.array(reference(checkpoints[kind], dtype=torch.bfloat16).margins(pairs, ratio=4))
    reranker = KaLMReranker(
        checkpoints[kind], dtype="bfloat16", engine=engine, prefix_cache_bytes=CACHE_BYTES[cache]
    )
    our_error = np.abs(stored_margins(reranker, queries, texts, 4) - exact)
    their_error = np.abs(theirs - exact)
    assert our_error.max() <= 2 * their_error.max(), (our_error.max(), their_error.max())
    assert our_error.mean() <= 2 * their_error.mean(), (our_error.mean(), their_error.mean())


@pytest.mark.parametrize("cache", CACHE_BYTES)
def test_prefixes_longer_than_the_sliding_window(checkpoints, cache):
    # The window is 24 tokens: in sliding layers most of the prefix is out of the query's sight.
    directory = checkpoints["linear_rope"]
    instruction = "Given a claim, find documents that refute it. " * 3
    texts, queries = documents(8), QUERIES[:3]
    pairs = [(query, text) for query in queries for text in texts]
    expected, bound = float32_bound(directory, pairs, ratio=2, instruction=instruction)
    reranker = KaLMReranker(directory, dtype="float32", prefix_cache_bytes=CACHE_BYTES[cache])
    assert_close(stored_margins(reranker, queries, texts, 2, instruction), expected, bound)


def test_queries_longer_than_the_sliding_window(checkpoints):
    directory = checkpoints["grouped"]
    queries = [" ".join(QUERIES * 3), QUERIES[0]]
    texts = documents(8)
    pairs = [(query, text) for query in queries for text in texts]
    expected, bound = float32_bound(directory, pairs, ratio=2)
    reranker = KaLMReranker(directory, dtype="float32")
    assert_close(stored_margins(reranker, queries, texts, 2), expected, bound)


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_budget_that_holds_little_does_not_matter(checkpoints, deterministic):
    directory = checkpoints["single_head"]
    texts, queries = documents(30), QUERIES[:3]
    pairs = [(query, text) for query in queries for text in texts]
    expected, bound = float32_bound(directory, pairs, ratio=4)
    reranker = KaLMReranker(
        directory, dtype="float32", prefix_cache_bytes=2**20, deterministic=deterministic
    )
    assert_close(stored_margins(reranker, queries, texts, 4), expected, bound)
    stats = reranker.prefix_cache_stats
    assert stats.evictions > 0
    assert stats.used_bytes <= 2**20


def test_requests_of_several_queries_share_batches(checkpoints):
    # As a server does it: one list of pairs, prompts of different lengths, with and without cache.
    directory = checkpoints["grouped"]
    texts, queries = documents(6), [QUERIES[0], " ".join(QUERIES), QUERIES[1]]
    pairs = [(query, text) for query in queries for text in texts]
    expected, bound = float32_bound(directory, pairs, ratio=4)
    for cache_bytes in CACHE_BYTES.values():
        reranker = KaLMReranker(directory, dtype="float32", prefix_cache_bytes=cache_bytes)
        states = reranker.encode(texts, compression_ratio=4)
        requests = [(query, states) for query in queries]
        margins = [pair.margin for scored in reranker.score_many(requests) for pair in scored]
        assert_close(np.array(margins), expected, bound)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="PyTorch compiles CPU code with a C++ compiler; there is none",
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_margins_from_states(checkpoints, monkeypatch, tmp_path, dtype):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    directory = checkpoints["grouped"]
    texts, queries = [*documents(57), *documents(3, longest=300)], QUERIES
    pairs = [(query, text) for query in queries for text in texts]
    for cache_bytes in CACHE_BYTES.values():
        reranker = KaLMReranker(
            directory, dtype=dtype, engine="compiled", prefix_cache_bytes=cache_bytes
        )
        ours = stored_margins(reranker, queries, texts, 4)
        if dtype == "float32":
            assert_close(ours, *float32_bound(directory, pairs, ratio=4))
            continue
        exact = np.array(reference(directory).margins(pairs, ratio=4))
        theirs = np.array(reference(directory, dtype=torch.bfloat16).margins(pairs, ratio=4))
        our_error, their_error = np.abs(ours - exact), np.abs(theirs - exact)
        assert our_error.max() <= 2 * their_error.max(), (our_error.max(), their_error.max())
        assert our_error.mean() <= 2 * their_error.mean(), (our_error.mean(), their_error.mean())
