"""Windows of any document, at any length: they cover it, and follow from a number of tokens."""

from itertools import pairwise

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from kalm_reranker.encoding.provenance import Provenance
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.encoding.windows import (
    num_windows,
    split_into_windows,
    window_token_counts,
)
from kalm_reranker.model.pooling import num_slots, pool_states

PREFIX = [-1, -2, -3, -4, -5]  # like no token of a body


def windows_of(length: int) -> Provenance:
    return Provenance(
        model_fingerprint="m",
        template_version=1,
        max_length=length,
        dtype="float32",
        long_documents="windows",
    )


@given(st.integers(0, 300), st.integers(0, 5), st.integers(1, 80))
def test_windows_cover_a_document_and_follow_from_their_tokens(num_body, num_prefix, length):
    assume(length - num_prefix - length // 8 >= 1)
    prefix = PREFIX[:num_prefix]
    ids = [*prefix, *range(num_body)]
    assume(ids)
    windows = split_into_windows(ids, prefix, length)
    counts = [len(window) for window in windows]
    assert all(window[:num_prefix] == prefix for window in windows)
    bodies = [window[num_prefix:] for window in windows]
    assert all(body == list(range(body[0], body[-1] + 1)) for body in bodies if body)
    assert {token for body in bodies for token in body} == set(range(num_body))
    for before, after in pairwise(bodies):
        assert len(set(before) & set(after)) == length // 8
        assert after[-1] > before[-1]
    assert num_windows(sum(counts), length) == len(windows)
    assert window_token_counts(sum(counts), length) == counts


@given(
    st.lists(st.integers(1, 70), min_size=1, max_size=4),
    st.sampled_from([(2, 2, 8), (1, 4, 8), (4, 4, 16), (3, 2, 12), (2, 1, 6), (1, 7, 7)]),
    st.integers(0, 2**31),
)
def test_states_of_windows_are_a_passages_states_whatever_is_pooled_when(counts, sizes, seed):
    ratio, factor, length = sizes
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(count, 3, generator=generator) for count in counts]
    parts = [part for row in rows for part in row.split(length)]
    lengths = torch.tensor([len(part) for part in parts])
    padded = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    mask = torch.arange(padded.shape[1]) < lengths[:, None]
    slots, slot_mask = pool_states(padded, mask, ratio)  # of every window on its own
    states = PassageStates(
        slots[slot_mask], counts, [False] * len(counts), ratio, windows_of(length), range(len(rows))
    )
    coarse, coarse_mask = pool_states(padded, mask, ratio * factor)
    pooled = states.repool(ratio * factor)
    for made, wanted in ((states, slots[slot_mask]), (pooled, coarse[coarse_mask])):
        torch.testing.assert_close(made.slots, wanted, rtol=1e-5, atol=1e-5)
        windows = made.windows()
        if max(counts) <= length:
            assert windows is None
            continue
        assert windows.states.slots is made.slots  # nothing is copied
        assert list(windows.states.token_counts) == lengths.tolist()
        assert windows.owners == [i for i, row in enumerate(rows) for _ in row.split(length)]
        assert len(set(windows.states.identities)) == len(parts)
        assert windows.states.windows() is None
        widths = [num_slots(len(part), made.compression_ratio) for part in parts]
        assert list(windows.states.slot_counts) == widths
