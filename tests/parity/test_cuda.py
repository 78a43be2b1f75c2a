"""The same bounds on a GPU, against the reference on the CPU."""

import numpy as np
import pytest
import torch

from kalm_reranker import KaLMReranker
from tests.parity.assertions import assert_close, float32_bound, our_margins
from tests.parity.pairs import QUERIES, documents, pairs
from tests.parity.reference import reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


@pytest.mark.parametrize("kind", ["grouped", "single_head", "linear_rope", "softcap_bias"])
def test_float32_margins_equal_the_reference(checkpoints, kind):
    expected, bound = float32_bound(checkpoints[kind], pairs(24), ratio=4)
    reranker = KaLMReranker(checkpoints[kind], device="cuda", dtype="float32")
    assert_close(our_margins(reranker, pairs(24)), expected, bound)


def test_bfloat16_errors_are_within_twice_the_reference(checkpoints):
    some = pairs(200, longest=40)
    directory = checkpoints["single_head"]
    exact = np.array(reference(directory).margins(some, ratio=4))
    rounded = np.array(reference(directory, dtype=torch.bfloat16).margins(some, ratio=4))
    ours = our_margins(KaLMReranker(directory, device="cuda"), some)
    assert np.abs(ours - exact).max() <= 2 * np.abs(rounded - exact).max()
    assert np.abs(ours - exact).mean() <= 2 * np.abs(rounded - exact).mean()


def test_states_are_kept_in_main_memory_and_score_the_same(checkpoints):
    reranker = KaLMReranker(checkpoints["grouped"], device="cuda", dtype="float32")
    states = reranker.encode(["a", "b c d"])
    assert states.slots.device.type == "cpu"
    expected = reranker.predict([("q", "a"), ("q", "b c d")])
    assert reranker.score("q", states) == pytest.approx(expected, abs=1e-5)


def stored_margins(reranker, queries, texts, ratio=4) -> np.ndarray:
    states = reranker.encode(texts, compression_ratio=ratio)
    scored = [reranker.score(query, states, return_margin=True) for query in queries]
    return np.array([pair.margin for one in scored for pair in one])


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("cache_bytes", [0, 2**28])
def test_margins_from_states_equal_the_reference(checkpoints, engine, cache_bytes):
    # Lengths differ, so that graphs of several shapes are captured, and each is replayed.
    directory = checkpoints["grouped"]
    texts, queries = [*documents(9), *documents(3, longest=300)], QUERIES[:3]
    some = [(query, text) for query in queries for text in texts]
    expected, bound = float32_bound(directory, some, ratio=4)
    reranker = KaLMReranker(
        directory,
        device="cuda",
        dtype="float32",
        engine=engine,
        prefix_cache_bytes=cache_bytes,
    )
    for _ in range(2):
        assert_close(stored_margins(reranker, queries, texts), expected, bound)


def test_replayed_graphs_give_the_bits_of_the_first_replay(checkpoints):
    reranker = KaLMReranker(checkpoints["single_head"], device="cuda", engine="compiled")
    reranker.warm_up(num_candidates=16)
    states = reranker.encode(documents(12))
    first = reranker.score(QUERIES[0], states)
    reranker.score(QUERIES[1], states)  # another shape in between
    assert reranker.score(QUERIES[0], states) == first
    assert reranker.stats.compiled_in_requests == 0


def test_a_batch_that_does_not_fit_is_made_smaller(checkpoints):
    reranker = KaLMReranker(checkpoints["grouped"], device="cuda", dtype="float32", batch_size=4096)
    some = pairs(64)
    expected = our_margins(reranker, some)
    _, total = torch.cuda.mem_get_info()
    held = torch.cuda.memory_reserved()
    torch.cuda.empty_cache()
    try:
        # A little more than what the weights take.
        torch.cuda.set_per_process_memory_fraction((held + 8 * 2**20) / total)
        np.testing.assert_allclose(our_margins(reranker, some), expected, atol=1e-4)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
