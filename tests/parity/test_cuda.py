"""The same bounds on a GPU, against the reference on the CPU."""

import numpy as np
import pytest
import torch

from kalm_reranker import KaLMReranker
from tests.parity.assertions import assert_close, float32_bound, our_margins
from tests.parity.pairs import pairs
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
