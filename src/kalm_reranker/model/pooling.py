"""Matryoshka Embedding Pooling (MEP): runs of encoder states become one stored slot each.

Shape letters: P passages, S passage tokens, C slots = ceil(S / ratio), D hidden width.

Source: KaLM-Reranker-V1, arXiv 2606.22807 (MEP). The mean is taken along the
sequence, over the tokens that exist; a last, partial slot averages what it has. Sums are taken in
float32 whatever the states' dtype and rounded once at the end.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kalm_reranker.errors import InvalidRatioError
from kalm_reranker.options import whole_number


def check_ratio(ratio: object) -> int:
    """Returns a compression ratio as a number of tokens per slot; None (no pooling) becomes 1.

    Raises:
        InvalidRatioError: `ratio` is neither None nor a positive integer.
    """
    if ratio is None:
        return 1
    tokens = whole_number(ratio)
    if tokens is None or tokens < 1:
        raise InvalidRatioError(
            f"compression_ratio must be a positive integer or None; got {ratio!r}.",
            hint="None and 1 keep every token; the official models were trained for 1 to 32.",
        )
    return tokens


def num_slots(num_tokens: int, ratio: int | None) -> int:
    """Returns ceil(num_tokens / ratio)."""
    return -(-num_tokens // check_ratio(ratio))


def pool_states(states: Tensor, mask: Tensor, ratio: int | None) -> tuple[Tensor, Tensor]:
    """Averages each run of `ratio` consecutive states of a right-padded batch.

    Args:
        states: [P, S, D], any floating dtype. Values at padding may be anything finite.
        mask: [P, S] boolean, True at tokens; each row is a run of True, then of False.
        ratio: Tokens per slot; None is the same as 1.

    Returns:
        The slots [P, C, D] in the dtype of `states`, zero where a slot has no token, and their
        mask [P, C], True where a slot has at least one token.

    Raises:
        InvalidRatioError: `ratio` is neither None nor a positive integer.
    """
    ratio = check_ratio(ratio)
    if ratio == 1:
        return states.masked_fill(~mask.unsqueeze(-1), 0), mask
    weights = mask.to(torch.float32)
    slots, counts = _weighted_mean_of_runs(states, weights, ratio)
    return slots, counts > 0


def repool_slots(
    slots: Tensor, token_counts: Sequence[int], stored_ratio: int, ratio: int
) -> Tensor:
    """Derives coarser slots from stored ones, as if the tokens had been pooled at `ratio`.

    Every slot stands for `stored_ratio` tokens except a passage's last, so the mean of a run of
    slots is weighted by their token counts.

    Args:
        slots: [N, D] slots of P passages, one after another, without padding.
        token_counts: Tokens of each passage before pooling, none 0.
        stored_ratio: Tokens per given slot.
        ratio: Tokens per wanted slot; a multiple of `stored_ratio`.

    Returns:
        The slots [sum of ceil(token_counts / ratio), D] in the dtype of `slots`.

    Raises:
        InvalidRatioError: A ratio is not a positive integer, or not a multiple of the stored one.
    """
    stored_ratio, ratio = check_ratio(stored_ratio), check_ratio(ratio)
    if ratio % stored_ratio:
        raise InvalidRatioError(
            f"compression_ratio must be a multiple of the stored ratio {stored_ratio}; "
            f"got {ratio}.",
            hint="Encode the passages again at a ratio that divides the wanted one.",
        )
    if ratio == stored_ratio or not token_counts:
        return slots
    # A ratio beyond every length is as good as the longest length, and fits an integer tensor.
    longest = max(token_counts)
    run = min(ratio // stored_ratio, num_slots(longest, stored_ratio))
    stored = min(stored_ratio, longest)
    tokens = torch.tensor(token_counts)  # [P]
    counts = (tokens + stored - 1) // stored  # slots given, of each passage
    runs = (counts + run - 1) // run  # slots wanted
    ends, run_ends = counts.cumsum(0), runs.cumsum(0)
    # Of each given slot: its place in its passage, and the wanted slot it belongs to.
    places = torch.arange(len(slots)) - (ends - counts).repeat_interleave(counts)
    wanted = (run_ends - runs).repeat_interleave(counts) + places // run  # [N]
    # Tokens of each slot as a share of a full one, so that all weights but the last ones are 1.
    weights = torch.ones(len(slots))
    weights[ends - 1] = (tokens - (counts - 1) * stored).float() / stored
    totals = torch.zeros(int(run_ends[-1])).index_add_(0, wanted, weights)
    sums = _sums_of_runs(slots, weights, wanted, len(totals))
    return (sums / totals.to(slots.device).unsqueeze(1)).to(slots.dtype)


def _sums_of_runs(slots: Tensor, weights: Tensor, wanted: Tensor, num_runs: int) -> Tensor:
    """Returns [num_runs, D] float32: the weighted sums of slots [N, D] with the same `wanted`."""
    values = slots.to(torch.float32, copy=True)
    partial = (weights != 1).nonzero().squeeze(1)
    values[partial.to(slots.device)] *= weights[partial].to(slots.device).unsqueeze(1)
    if slots.device.type == "cpu":  # several times faster there, and in order
        return values.new_zeros(num_runs, slots.shape[1]).index_add_(0, wanted, values)
    # Elsewhere index_add_ adds in any order, and equal inputs would give unequal bits.
    lengths = wanted.bincount(minlength=num_runs).to(slots.device)
    return torch.segment_reduce(values, "sum", lengths=lengths, axis=0)


def _weighted_mean_of_runs(rows: Tensor, weights: Tensor, run: int) -> tuple[Tensor, Tensor]:
    """Averages each `run` of rows [P, N, D] by weights [P, N]; also returns the weight sums."""
    num_passages, num_rows, width = rows.shape
    run = max(1, min(run, num_rows))  # a run longer than all rows is all rows
    num_runs = -(-num_rows // run)
    missing = num_runs * run - num_rows
    # Padding rows may hold anything, also values that a weight of zero would not cancel (inf).
    weighted = rows.float().masked_fill((weights == 0).unsqueeze(-1), 0) * weights.unsqueeze(-1)
    weighted = torch.nn.functional.pad(weighted, (0, 0, 0, missing))
    sums = weighted.view(num_passages, num_runs, run, width).sum(2)  # [P, N, D] -> [P, C, D]
    totals = torch.nn.functional.pad(weights, (0, missing)).view(num_passages, num_runs, run).sum(2)
    # A slot without tokens has a sum of zero; dividing by one keeps it zero instead of NaN.
    return (sums / totals.clamp(min=1).unsqueeze(-1)).to(rows.dtype), totals
