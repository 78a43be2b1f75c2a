"""Some passages of a list may be known to an engine, and others not."""

import pytest

from kalm_reranker import KaLMReranker
from kalm_reranker.encoding.states import PassageStates

QUERY = "What is the capital of China?"
TEXTS = ["The capital of China is Beijing.", "Gravity attracts bodies.", "Paris is in France."]


@pytest.fixture(scope="module")
def pico():
    return KaLMReranker("pico", dtype="float32")


def unknown(states):
    """The same states, of which nothing is kept."""
    return PassageStates(
        states.slots,
        states.token_counts,
        states.truncated,
        states.compression_ratio,
        states.provenance,
    )


def test_identities_of_joined_states_stay_with_their_passages(pico):
    known, others = pico.encode(TEXTS[:1]), unknown(pico.encode(TEXTS[1:]))
    joined = PassageStates.concatenate([others, known])
    assert joined.identities == (None, None, known.identities[0])
    assert joined.repool(4).identities[:2] == (None, None)
    assert joined.repool(4).identities[2] is not None
    assert PassageStates.concatenate([others, others]).identities is None


def test_only_known_passages_go_through_the_prefix_cache(pico):
    states = pico.encode(TEXTS)
    expected = pico.score(QUERY, states, return_margin=True)
    mixed = PassageStates.concatenate([states[:1], unknown(states[1:])])
    before = pico.prefix_cache_stats
    margins = [pair.margin for pair in pico.score(QUERY, mixed, return_margin=True)]
    after = pico.prefix_cache_stats
    assert after.hits - before.hits == 1
    assert after.misses == before.misses
    assert margins == pytest.approx([pair.margin for pair in expected], abs=1e-4)
