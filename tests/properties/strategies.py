"""Hypothesis strategies that several property tests share."""

import torch
from hypothesis import strategies as st

ratios = st.one_of(st.integers(1, 40), st.sampled_from([91, 10**5, 2**40]))
token_counts = st.lists(st.integers(1, 90), min_size=1, max_size=6)


@st.composite
def ragged_states(draw, width: int = 3) -> list[torch.Tensor]:
    """Passages of 1 to 90 tokens with states [S, D] of moderate size."""
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, width, generator=generator) * 10 for count in draw(token_counts)]
