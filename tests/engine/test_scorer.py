"""Batching without weights: a stub forward whose logits say what it was given."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker.encoding.provenance import Provenance
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.engine.batches import SLOT_MULTIPLE, prepare
from kalm_reranker.engine.prompt import Prompt
from kalm_reranker.engine.scorer import PairScorer, check_finite
from kalm_reranker.errors import NonFiniteScoreError

ORIGIN = Provenance(model_fingerprint="m", template_version=1, max_length=9, dtype="float32")
CPU = torch.device("cpu")


def states_of(slot_counts) -> PassageStates:
    """Passage i has slots that all hold i + 1, at ratio 1."""
    rows = [torch.full((count, 2), float(i + 1)) for i, count in enumerate(slot_counts)]
    slots = torch.cat(rows) if rows else torch.zeros(0, 2)
    return PassageStates(slots, slot_counts, [False] * len(slot_counts), 1, ORIGIN)


def slots_by_pair(passages) -> tuple[torch.Tensor, torch.Tensor]:
    """Slots [B, C, D] and mask [B, C] as attention sees them."""
    slots = passages.slots if passages.index is None else passages.slots[passages.index.flatten()]
    slots = slots.view(passages.num_pairs, passages.num_keys, -1)
    mask = passages.mask
    return slots, torch.ones(slots.shape[:2], dtype=torch.bool) if mask is None else mask


def stub(batch):
    """yes = last prompt token, no = sum of the passage's real slots: both depend on every mask."""
    rows = torch.arange(len(batch.prompt_ids))
    yes = batch.prompt_ids[rows, batch.last_positions].float()
    slots, mask = slots_by_pair(batch.context)
    no = (slots[..., 0] * mask).sum(1)
    return torch.stack((yes, no), dim=1)


def scorer(forward=stub, *, max_items=4, token_budget=10) -> PairScorer:
    return PairScorer(
        forward=forward,
        device=CPU,
        dtype=torch.float32,
        max_items=max_items,
        token_budget=token_budget,
    )


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.integers(1, 8),
    st.integers(1, 60),
)
def test_every_pair_gets_its_own_margin(prompt_lengths, slot_counts, max_items, token_budget):
    prompts = [Prompt(tuple(range(10 * i, 10 * i + n))) for i, n in enumerate(prompt_lengths)]
    states = states_of(slot_counts)
    pairs = [(p, s) for s in range(len(slot_counts)) for p in range(len(prompts))]
    seen = []
    margins = scorer(max_items=max_items, token_budget=token_budget).score(
        prompts, states, pairs, on_progress=seen.append
    )
    expected = [prompts[p].ids[-1] - (s + 1) * slot_counts[s] for p, s in pairs]
    assert margins == expected
    assert sum(seen) == len(pairs)
    assert max(seen) <= max_items


def test_no_pairs_no_margins():
    assert scorer().score([Prompt((1,))], states_of([]), []) == []


def test_prompts_are_padded_at_the_right_and_slots_not_at_all():
    batch = prepare(
        [Prompt((5, 6, 7)), Prompt((8,))],
        states_of([1, 2]),
        [(0, 1), (1, 0), (1, 1)],
        device=CPU,
        dtype=torch.float32,
    )
    assert batch.prompt_ids.tolist() == [[5, 6, 7], [8, 0, 0], [8, 0, 0]]
    assert batch.last_positions.tolist() == [2, 0, 0]
    assert batch.context.slots[:, 0].tolist() == [2.0, 2.0, 1.0]  # each passage once
    slots, mask = slots_by_pair(batch.context)
    assert mask.shape == (3, SLOT_MULTIPLE)
    assert mask.sum(1).tolist() == [2, 1, 2]
    assert (slots[..., 0] * mask).sum(1).tolist() == [4.0, 1.0, 4.0]


def test_passages_of_one_length_need_no_mask_and_no_copy():
    states = states_of([2, 2, 2])
    batch = prepare([Prompt((5,))], states, [(0, 1), (0, 2)], device=CPU, dtype=torch.float32)
    assert batch.context.mask is None
    assert batch.context.index is None
    assert batch.context.slots.data_ptr() == states.slots[2:].data_ptr()


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
        slots, _ = slots_by_pair(batch.context)
        return stub(batch).masked_fill(slots[:, :1, 0] == 2, math.nan)

    with pytest.raises(NonFiniteScoreError, match="first: pair 40"):
        scorer(broken).score(
            [Prompt((1,))], states_of([1, 1]), [(0, 0), (0, 1)], positions=[30, 40]
        )
