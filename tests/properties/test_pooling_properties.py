import torch
from hypothesis import given
from hypothesis import strategies as st

from kalm_reranker.encoding.provenance import Provenance
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.model.pooling import num_slots, pool_states, repool_slots
from tests.properties.strategies import ragged_states, ratios

ORIGIN = Provenance(model_fingerprint="m", template_version=1, max_length=99, dtype="float32")


def padded(rows, extra: int = 0):
    counts = torch.tensor([len(row) for row in rows])
    states = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=float("inf"))
    states = torch.nn.functional.pad(states, (0, 0, 0, extra), value=7.0)
    mask = torch.arange(states.shape[1]) < counts[:, None]
    # Padding of an encoder is finite but arbitrary.
    return states.masked_fill(states.isinf(), -123.0), mask, counts


@given(ragged_states(), ratios)
def test_each_slot_is_the_mean_of_its_tokens(rows, ratio):
    states, mask, _ = padded(rows)
    slots, slot_mask = pool_states(states, mask, ratio)
    for row, row_slots, row_mask in zip(rows, slots, slot_mask, strict=True):
        assert int(row_mask.sum()) == num_slots(len(row), ratio)
        for index, chunk in enumerate(row.split(ratio)):
            torch.testing.assert_close(row_slots[index], chunk.mean(0), rtol=1e-5, atol=1e-5)
        assert not row_slots[~row_mask].any()


@given(ragged_states(), ratios, st.integers(0, 30))
def test_padding_and_company_do_not_matter(rows, ratio, extra):
    states, mask, _ = padded(rows, extra)
    together, _ = pool_states(states, mask, ratio)
    for row, slots in zip(rows, together, strict=True):
        alone, _ = pool_states(row[None], torch.ones(1, len(row), dtype=torch.bool), ratio)
        torch.testing.assert_close(slots[: alone.shape[1]], alone[0], rtol=1e-6, atol=1e-5)


@given(ragged_states(), st.integers(1, 8), st.integers(1, 8))
def test_repooling_equals_pooling_directly(rows, stored, factor):
    states, mask, counts = padded(rows)
    slots, slot_mask = pool_states(states, mask, stored)
    derived = repool_slots(slots[slot_mask], counts.tolist(), stored, stored * factor)
    direct, direct_mask = pool_states(states, mask, stored * factor)
    assert derived.shape == direct[direct_mask].shape
    # To 1e-6 of the size of the states, partial last slots included.
    bound = 1e-6 * max(float(row.abs().max()) for row in rows)
    assert float((derived - direct[direct_mask]).abs().max()) <= bound


@given(ragged_states(), st.integers(1, 8), st.integers(1, 8), st.integers(1, 4))
def test_packed_states_repool_like_padded_ones_in_one_step_or_two(rows, stored, first, second):
    states, mask, counts = padded(rows)
    slots, slot_mask = pool_states(states, mask, stored)
    packed = PassageStates(slots[slot_mask], counts.tolist(), [False] * len(rows), stored, ORIGIN)
    once = packed.repool(stored * first * second)
    twice = packed.repool(stored * first).repool(stored * first * second)
    direct, direct_mask = pool_states(states, mask, stored * first * second)
    torch.testing.assert_close(once.slots, direct[direct_mask], rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(twice.slots, once.slots, rtol=1e-5, atol=1e-4)
