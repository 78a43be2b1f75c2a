"""What prompt tokens attend to besides their own: the passage, and prompt tokens read before.

Shape letters: B (query, passage) pairs, T prompt tokens, N slots of all passages, C slots of a
passage, S context keys of a pair, D hidden width, G key/value heads, K head width.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kalm_reranker.model.attention import Attention, additive, decoder_window
from kalm_reranker.model.config import LayerType, StackConfig


class Context(Protocol):
    """Keys and values of each decoder layer that exist before the prompt tokens are read."""

    @property
    def num_prompt_tokens(self) -> int:
        """Prompt tokens among the keys: the first ones, at positions 0, 1, ..."""
        ...

    @property
    def num_keys(self) -> int:
        """S."""
        ...

    @property
    def mask(self) -> Tensor | None:
        """[B, S] boolean, True at keys that exist; None where all do."""
        ...

    def keys_values(self, layer: int, attention: Attention) -> tuple[Tensor, Tensor]:
        """Returns keys and values [B, G, S, K] of a layer."""
        ...


@dataclass(frozen=True)
class PassageSlots:
    """The passages' stored states. Rows carry no padding: it would be projected in every layer.

    Attributes:
        slots: [N, D] of all passages.
        index: [B, C] integer, rows of `slots` that each pair reads, any row where `mask` is
            False; None where pair i reads the i-th of B equal runs.
        mask: [B, C] boolean, True at slots; None where all pairs have C slots.
        num_pairs: B.
    """

    slots: Tensor
    index: Tensor | None
    mask: Tensor | None
    num_pairs: int

    @property
    def num_prompt_tokens(self) -> int:
        """0: these are passages alone."""
        return 0

    @property
    def num_keys(self) -> int:
        """C."""
        return len(self.slots) // self.num_pairs if self.index is None else self.index.shape[1]

    def keys_values(self, layer: int, attention: Attention) -> tuple[Tensor, Tensor]:
        """Projects the slots: [B, G, C, K]."""
        keys, values = attention.passage_keys_values(self.slots)  # [N, G, K]
        return self._by_pair(keys), self._by_pair(values)

    def _by_pair(self, rows: Tensor) -> Tensor:
        """[N, G, K] -> [B, G, C, K]."""
        if self.index is not None:
            rows = rows.index_select(0, self.index.flatten())
        by_pair = rows.view(self.num_pairs, -1, *rows.shape[1:])  # [B, C, G, K]
        return by_pair.transpose(1, 2)


def merged_masks(
    config: StackConfig, num_tokens: int, context: Context, *, like: Tensor
) -> dict[LayerType, Tensor]:
    """Returns what the prompt tokens see of context keys and their own, per layer type.

    The passage is seen by every token in every layer. Prompt tokens are seen causally, in sliding
    layers at a distance below the window, whether they stand in the context or not.

    Args:
        config: Of the decoder.
        num_tokens: T, the tokens that follow the context's.
        context: What they attend to; S keys.
        like: Of the masks' dtype and device.

    Returns:
        Additive masks [1 or B, 1, T, S + T]; the same tensor where both types see the same.
    """
    before = context.num_prompt_tokens
    masks: dict[LayerType, Tensor] = {}
    own = decoder_window(num_tokens, None, like.device, before=before)
    masks["full"] = masks["sliding"] = _with_passage(own, context, like)
    if before + num_tokens > config.sliding_window:
        own = decoder_window(num_tokens, config.sliding_window, like.device, before=before)
        masks["sliding"] = _with_passage(own, context, like)
    return masks


def _with_passage(own: Tensor, context: Context, like: Tensor) -> Tensor:
    """Puts the passage's keys between those of the prompt tokens [T, P0 + T], before and own."""
    before, num_tokens = context.num_prompt_tokens, own.shape[0]
    exists = context.mask  # [B, S]
    if exists is None:
        exists = own.new_ones(1, context.num_keys)
    passage = exists[:, None, None, before:].expand(-1, 1, num_tokens, -1)  # [B, 1, T, C]
    own = own[None, None].expand(len(exists), -1, -1, -1)  # [B, 1, T, P0 + T]
    return additive(torch.cat((own[..., :before], passage, own[..., before:]), -1), like.dtype)
