import pytest
import torch

from kalm_reranker.errors import InvalidRatioError
from kalm_reranker.model.pooling import check_ratio, num_slots, pool_states, repool_slots

# Two passages of 3 and 1 tokens, width 1; 9 and 99 are padding.
STATES = torch.tensor([[[1.0], [2.0], [6.0]], [[5.0], [9.0], [99.0]]])
MASK = torch.tensor([[True, True, True], [True, False, False]])


def test_a_hand_computed_mean():
    slots, mask = pool_states(STATES, MASK, 2)
    assert slots.tolist() == [[[1.5], [6.0]], [[5.0], [0.0]]]
    assert mask.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("ratio", [None, 1])
def test_no_pooling_keeps_every_token_and_clears_padding(ratio):
    slots, mask = pool_states(STATES, MASK, ratio)
    assert slots.tolist() == [[[1.0], [2.0], [6.0]], [[5.0], [0.0], [0.0]]]
    assert torch.equal(mask, MASK)


def test_a_ratio_beyond_the_length_gives_one_slot():
    slots, mask = pool_states(STATES, MASK, 100)
    assert slots.tolist() == [[[3.0]], [[5.0]]]
    assert mask.all()


@pytest.mark.parametrize("ratio", [10**6, 10**12, 10**30])
def test_a_ratio_beyond_every_length_costs_no_more(ratio):
    slots, mask = pool_states(STATES, MASK, ratio)
    assert slots.tolist() == [[[3.0]], [[5.0]]]
    packed = slots.flatten(0, 1)
    assert repool_slots(packed, [3, 1], ratio, ratio * 2).tolist() == packed.tolist()
    assert repool_slots(STATES[MASK], [3, 1], 1, ratio).tolist() == packed.tolist()
    assert mask.all()


def test_repooling_weighs_the_partial_slot_by_its_tokens():
    slots, mask = pool_states(STATES, MASK, 2)
    coarse = repool_slots(slots[mask], [3, 1], 2, 4)
    assert coarse.tolist() == [[3.0], [5.0]]  # (2 * 1.5 + 1 * 6) / 3, not (1.5 + 6) / 2
    assert slots[mask].tolist() == [[1.5], [6.0], [5.0]]  # the given slots are left alone


def test_sums_are_taken_in_float32():
    # In bfloat16, adding 1 to 256 changes nothing.
    states = torch.ones(1, 512, 1, dtype=torch.bfloat16)
    slots, _ = pool_states(states, torch.ones(1, 512, dtype=torch.bool), 512)
    assert slots.item() == 1.0
    assert slots.dtype == torch.bfloat16


@pytest.mark.parametrize("ratio", [0, -1, 2.0, "4", True, "four"])
def test_other_ratios_are_refused(ratio):
    with pytest.raises(InvalidRatioError, match="must be a positive integer or None; got"):
        pool_states(STATES, MASK, ratio)


@pytest.mark.parametrize(("stored", "ratio"), [(2, 3), (4, 2), (3, 32)])
def test_only_multiples_can_be_derived(stored, ratio):
    with pytest.raises(InvalidRatioError, match=f"multiple of the stored ratio {stored}; got"):
        repool_slots(STATES[MASK], [3, 1], stored, ratio)


def test_number_of_slots():
    assert [num_slots(n, 4) for n in (1, 4, 5, 8)] == [1, 1, 2, 2]
    assert num_slots(7, None) == 7
    assert check_ratio(None) == 1
