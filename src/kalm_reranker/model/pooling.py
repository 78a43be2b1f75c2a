"""Matryoshka Embedding Pooling (MEP): runs of encoder states become one stored slot each.

Shape letters: P passages, S passage tokens, C slots = ceil(S / ratio), D hidden width.

Source: KaLM-Reranker-V1, arXiv 2606.22807 (MEP). The mean is taken along the
sequence, over the tokens that exist; a last, partial slot averages what it has. Sums are taken in
float32 whatever the states' dtype and rounded once at the end.
"""

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
    slots: Tensor, token_counts: Tensor, stored_ratio: int, ratio: int
) -> tuple[Tensor, Tensor]:
    """Derives coarser slots from stored ones, as if the tokens had been pooled at `ratio`.

    Every slot stands for `stored_ratio` tokens except a passage's last, so the mean of a run of
    slots is weighted by their token counts.

    Args:
        slots: [P, C, D] slots at `stored_ratio`, right-padded.
        token_counts: [P] integer, tokens of each passage before pooling.
        stored_ratio: Tokens per given slot.
        ratio: Tokens per wanted slot; a multiple of `stored_ratio`.

    Returns:
        The slots [P, ceil(C * stored_ratio / ratio), D] in the dtype of `slots`, and their mask.

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
    # A ratio beyond every length is as good as the longest length, and fits an integer tensor.
    slot_width = min(stored_ratio, int(token_counts.max()) if len(token_counts) else 1)
    starts = torch.arange(slots.shape[1], device=slots.device) * slot_width
    weights = (token_counts.unsqueeze(1) - starts).clamp(0, slot_width).to(torch.float32)
    if ratio == stored_ratio:
        return slots.masked_fill((weights == 0).unsqueeze(-1), 0), weights > 0
    coarse, counts = _weighted_mean_of_runs(slots, weights, ratio // stored_ratio)
    return coarse, counts > 0


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
