"""Stored states pooled again, against pooling the tokens' states directly at the wanted ratio."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import torch
from states_store import read_states, store_states
from torch import Tensor

from kalm_reranker import KaLMReranker, PassageStates
from kalm_reranker.model.pooling import pool_states
from kalm_reranker.store.codecs import CodecName

Differences = dict[str, dict[int, float]]  # codec -> ratio -> largest relative difference


def repooling_differences(
    reranker: KaLMReranker, texts: Mapping[str, str], stored_ratio: int, ratios: Sequence[int]
) -> Differences:
    """Returns the largest differences between states read at a ratio and pooled directly at it.

    What is pooled directly comes from the encoder's token states by the encoder's own pooling, and
    is never quantised: the difference is all that storing at a finer ratio brings.

    Args:
        reranker: A float32 model, so that its own rounding is none of the difference.
        texts: Passages by id.
        stored_ratio: Ratio of the store.
        ratios: Multiples of it.
    """
    tokens = reranker.encode(list(texts.values()), compression_ratio=1, show_progress=False)
    direct = {ratio: pooled_directly(tokens, ratio) for ratio in {stored_ratio, *ratios}}
    found: Differences = {}
    for codec in get_args(CodecName):
        with tempfile.TemporaryDirectory(prefix="kalm-bench-") as temporary:
            folder = Path(temporary) / codec
            store = store_states(folder, reranker, texts, direct[stored_ratio], codec)
            found[codec] = {
                ratio: relative_difference(
                    read_states(store, reranker, list(texts), ratio).slots, direct[ratio].slots
                )
                for ratio in ratios
            }
            store.close()
    return found


def pooled_directly(tokens: PassageStates, ratio: int) -> PassageStates:
    """Returns states at a ratio from states at ratio 1, by the pooling that encoding uses."""
    slots, mask = pool_states(*tokens.padded(range(len(tokens))), ratio)
    return PassageStates(
        slots[mask], tokens.token_counts, tokens.truncated, ratio, tokens.provenance
    )


def relative_difference(slots: Tensor, wanted: Tensor) -> float:
    """Returns the largest difference in any slot, relative to the largest value of that slot.

    Args:
        slots: [N, D].
        wanted: [N, D]; slots of zeros only count if they differ.
    """
    apart = (slots.double() - wanted.double()).abs().amax(1)  # [N]
    sizes = wanted.double().abs().amax(1)
    relative = torch.where(apart == 0, 0.0, apart / sizes)
    return float(relative.max())
