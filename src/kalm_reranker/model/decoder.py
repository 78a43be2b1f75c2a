"""The decoder: prompt tokens that attend to stored passage states in every layer.

Shape letters: B (query, passage) pairs, T prompt tokens, S context keys, D hidden width,
G key/value heads, K head width.

Only the state at the last prompt token is wanted, so the last layer computes that position alone.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from kalm_reranker.model.attention import RotaryTables
from kalm_reranker.model.block import Block
from kalm_reranker.model.config import LayerType, StackConfig
from kalm_reranker.model.context import Context, merged_masks
from kalm_reranker.model.layers import RMSNorm, rotary_tables

KeysValues = tuple[Tensor, Tensor]  # each [B, G, T or S, K]


class DecoderLayer(Block):
    """Merged attention: one softmax over the passage's keys and the prompt's own."""

    def own_keys_values(self, hidden: Tensor, rotary: RotaryTables) -> KeysValues:
        """Keys and values of the prompt tokens [B, T, D] themselves."""
        return self.self_attn.keys_values(self.pre_self_attn_layernorm(hidden), rotary)

    def forward(
        self,
        hidden: Tensor,
        context: KeysValues,
        rotary: RotaryTables,
        mask: Tensor | None,
        only: Tensor | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """Runs the layer for every position, or for one position per row.

        Args:
            hidden: [B, T, D].
            context: Keys and values [B, G, S, K] of what stands before the prompt tokens.
            rotary: cos and sin [T, K].
            mask: Additive, broadcastable to [B, 1, T, S + T].
            only: [B] integer positions to compute; None for all of them.

        Returns:
            [B, T, D], or [B, 1, D] where `only` is given; and the tokens' own keys and values
            [B, G, T, K].
        """
        normed = self.pre_self_attn_layernorm(hidden)
        keys, values = self.self_attn.keys_values(normed, rotary)
        if only is not None:
            rows = torch.arange(hidden.shape[0], device=hidden.device)
            hidden, normed = hidden[rows, only].unsqueeze(1), normed[rows, only].unsqueeze(1)
            rotary = (rotary[0][only][:, None, None], rotary[1][only][:, None, None])  # [B,1,1,K]
            if mask is not None:  # [B, 1, 1, S + T]
                mask = mask.expand(len(rows), -1, -1, -1)[rows, :, only].unsqueeze(2)
        queries = self.self_attn.queries(normed, rotary)
        attended = self.self_attn.attend(
            queries,
            torch.cat((context[0], keys), dim=2),  # [B, G, S + T, K]
            torch.cat((context[1], values), dim=2),
            mask,
        )
        return self.add_attended(hidden, attended), (keys, values)


class Decoder(nn.Module):
    """The decoder stack. Takes embedded prompts: the embedding table belongs to the encoder."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_width, config.norm_eps)

    def forward(self, embedded: Tensor, last_positions: Tensor, context: Context) -> Tensor:
        """Reads right-padded prompts, or their rest, against passages.

        Causal attention keeps padding at the right end out of every real position, so prompts
        need no mask of their own.

        Args:
            embedded: [B, T, D] embedded prompt tokens that follow the context's.
            last_positions: [B] integer, index of each prompt's last token among these.
            context: Passages, and prompt tokens that were read before.

        Returns:
            [B, D], the normalised state at the last token of each prompt.
        """
        hidden = embedded
        for layer, keys_values, rotary, mask, is_last in self._steps(embedded, context):
            only = last_positions if is_last else None
            hidden, _ = layer(hidden, keys_values, rotary, mask, only)
        return self.norm(hidden.squeeze(1))  # type: ignore[no-any-return]

    def keys_values(
        self, embedded: Tensor, context: Context
    ) -> Iterator[tuple[KeysValues, KeysValues]]:
        """Reads prompt tokens for the sake of their keys and values alone.

        Args:
            embedded: [B, T, D] embedded prompt tokens that follow the context's.
            context: Passages, and prompt tokens that were read before.

        Yields:
            For each layer the context's keys and values [B, G, S, K], and the tokens' own
            [B, G, T, K].
        """
        hidden = embedded
        for layer, keys_values, rotary, mask, is_last in self._steps(embedded, context):
            if is_last:  # what follows its keys and values is used by nothing
                own = layer.own_keys_values(hidden, rotary)
            else:
                hidden, own = layer(hidden, keys_values, rotary, mask)
            yield keys_values, own

    def _steps(
        self, embedded: Tensor, context: Context
    ) -> Iterator[tuple[DecoderLayer, KeysValues, RotaryTables, Tensor, bool]]:
        """Yields each layer, what it attends to, its tables, its mask, and if it is the last."""
        rotary, masks = self._positions(embedded, context)
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            layer_type = self.config.layer_types[index]
            keys_values = context.keys_values(index, layer.self_attn)
            yield layer, keys_values, rotary[layer_type], masks[layer_type], index == last

    def _positions(
        self, hidden: Tensor, context: Context
    ) -> tuple[dict[LayerType, RotaryTables], dict[LayerType, Tensor]]:
        """Returns rotary tables [T, K] and masks [1 or B, 1, T, S + T] per layer type."""
        num_tokens = hidden.shape[1]
        rotary = {
            layer_type: rotary_tables(
                settings,
                num_tokens,
                self.config.head_width,
                like=hidden,
                first_position=context.num_prompt_tokens,
            )
            for layer_type, settings in self.config.rotary.items()
        }
        return rotary, merged_masks(self.config, num_tokens, context, like=hidden)
