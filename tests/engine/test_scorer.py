"""Batching without weights: a stub forward whose logits say what it was given."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker.encoding.provenance import Provenance
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.engine.scorer import check_finite, prepare, score_pairs
from kalm_reranker.errors import NonFiniteScoreError

ORIGIN = Provenance(model_fingerprint="m", template_version=1, max_length=9, dtype="float32")
CPU = torch.device("cpu")


def states_of(slot_counts) -> PassageStates:
    """Passage i has slots that all hold i + 1, at ratio 1."""
    rows = [torch.full((count, 2), float(i + 1)) for i, count in enumerate(slot_counts)]
    slots = torch.cat(rows) if rows else torch.zeros(0, 2)
    return PassageStates(slots, slot_counts, [False] * len(slot_counts), 1, ORIGIN)


def stub(batch):
    """yes = last prompt token, no = sum of the passage's real slots: both depend on every mask."""
    rows = torch.arange(len(batch.prompt_ids))
    yes = batch.prompt_ids[rows, batch.last_positions].float()
    no = (batch.passage_states[..., 0] * batch.slot_mask).sum(1)
    return torch.stack((yes, no), dim=1)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.integers(1, 8),
    st.integers(1, 60),
)
def test_every_pair_gets_its_own_margin(prompt_lengths, slot_counts, max_items, token_budget):
    prompts = [list(range(10 * i, 10 * i + n)) for i, n in enumerate(prompt_lengths)]
    states = states_of(slot_counts)
    pairs = [(p, s) for s in range(len(slot_counts)) for p in range(len(prompts))]
    seen = []
    margins = score_pairs(
        stub,
        prompts,
        states,
        pairs,
        device=CPU,
        dtype=torch.float32,
        max_items=max_items,
        token_budget=token_budget,
        on_progress=seen.append,
    )
    expected = [prompts[p][-1] - (s + 1) * slot_counts[s] for p, s in pairs]
    assert margins == expected
    assert sum(seen) == len(pairs)
    assert max(seen) <= max_items


def test_no_pairs_no_margins():
    assert (
        score_pairs(
            stub,
            [[1]],
            states_of([]),
            [],
            device=CPU,
            dtype=torch.float32,
            max_items=4,
            token_budget=10,
        )
        == []
    )


def test_prepared_batches_are_padded_at_the_right():
    batch = prepare(
        [[5, 6, 7], [8]], states_of([1, 2]), [(0, 1), (1, 0)], device=CPU, dtype=torch.float32
    )
    assert batch.prompt_ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch.last_positions.tolist() == [2, 0]
    assert batch.passage_states[..., 0].tolist() == [[2.0, 2.0], [1.0, 0.0]]
    assert batch.slot_mask.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_logits_are_refused_and_the_pair_named(bad):
    logits = torch.tensor([[1.0, 2.0], [bad, 0.0]])
    with pytest.raises(
        NonFiniteScoreError, match=r"1 of 2 pairs in a batch \(first: pair 7\) in f"
    ):
        check_finite(logits, [3, 7], torch.float16)
    check_finite(torch.zeros(2, 2), [3, 7], torch.float16)


def test_errors_call_pairs_by_the_callers_positions():
    def broken(batch):
        return stub(batch).masked_fill(batch.passage_states[:, :1, 0] == 2, math.nan)

    with pytest.raises(NonFiniteScoreError, match="first: pair 40"):
        score_pairs(
            broken,
            [[1]],
            states_of([1, 1]),
            [(0, 0), (0, 1)],
            device=CPU,
            dtype=torch.float32,
            max_items=4,
            token_budget=10,
            positions=[30, 40],
        )
