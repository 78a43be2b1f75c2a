"""The bundled model on real text: trained weights, real lengths, its own prompt and limits."""

import numpy as np
import pytest
import torch

from kalm_reranker import KaLMReranker
from kalm_reranker.checkpoints.bundled import bundled_checkpoint
from kalm_reranker.evaluation.data.bundled import load_demo_collection
from tests.parity.assertions import assert_close, float32_bound, our_margins
from tests.parity.reference import reference

OWN_SETTINGS = {"system": "", "query_max_length": 26, "max_length": 512, "ratio": 2}
DIRECTORY = bundled_checkpoint().directory


def real_pairs(num_queries: int, num_passages: int) -> list[tuple[str, str]]:
    collection = load_demo_collection()
    queries = list(collection.queries.values())[:num_queries]
    passages = list(collection.passages.values())[:num_passages]
    return [(query, passage) for query in queries for passage in passages]


def test_float32_margins_equal_the_reference():
    pairs = real_pairs(3, 10)
    expected, bound = float32_bound(DIRECTORY, pairs, **OWN_SETTINGS)
    assert_close(our_margins(KaLMReranker("pico", dtype="float32"), pairs), expected, bound)


@pytest.mark.slow
def test_bfloat16_errors_are_within_twice_the_reference():
    pairs = real_pairs(10, 20)
    exact, _ = float32_bound(DIRECTORY, pairs, **OWN_SETTINGS)
    theirs = np.array(reference(DIRECTORY, dtype=torch.bfloat16).margins(pairs, **OWN_SETTINGS))
    their_error = np.abs(theirs - exact)
    our_error = np.abs(our_margins(KaLMReranker("pico", dtype="bfloat16"), pairs) - exact)
    assert our_error.max() <= 2 * their_error.max()
    assert our_error.mean() <= 2 * their_error.mean()
