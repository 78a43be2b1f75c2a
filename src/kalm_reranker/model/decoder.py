"""The decoder: prompt tokens that attend to stored passage states in every layer.

Shape letters: B (query, passage) pairs, T prompt tokens, C passage slots, D hidden width.

Only the state at the last prompt token is wanted, so the last layer computes that position alone.
"""

import torch
from torch import Tensor, nn

from kalm_reranker.model.attention import RotaryTables, additive, decoder_window
from kalm_reranker.model.block import Block
from kalm_reranker.model.config import LayerType, StackConfig
from kalm_reranker.model.layers import RMSNorm, rotary_tables


class DecoderLayer(Block):
    """Merged attention: one softmax over the prompt's own keys and the passage's."""

    def forward(
        self,
        hidden: Tensor,
        passage_states: Tensor,
        rotary: RotaryTables,
        mask: Tensor,
        only: Tensor | None = None,
    ) -> Tensor:
        """Runs the layer for every position, or for one position per row.

        Args:
            hidden: [B, T, D].
            passage_states: [B, C, D].
            rotary: cos and sin [T, K].
            mask: Additive, broadcastable to [B, 1, T, T + C].
            only: [B] integer positions to compute; None for all of them.

        Returns:
            [B, T, D], or [B, 1, D] where `only` is given.
        """
        normed = self.pre_self_attn_layernorm(hidden)
        keys, values = self.self_attn.keys_values(normed, rotary)
        if only is not None:
            rows = torch.arange(hidden.shape[0], device=hidden.device)
            hidden, normed = hidden[rows, only].unsqueeze(1), normed[rows, only].unsqueeze(1)
            rotary = (rotary[0][only][:, None, None], rotary[1][only][:, None, None])  # [B,1,1,K]
            mask = mask.expand(len(rows), -1, -1, -1)[rows, :, only].unsqueeze(2)  # [B,1,1,T+C]
        queries = self.self_attn.queries(normed, rotary)
        passage_keys, passage_values = self.self_attn.passage_keys_values(passage_states)
        attended = self.self_attn.attend(
            queries,
            torch.cat((keys, passage_keys), dim=2),  # [B, G, T + C, K]
            torch.cat((values, passage_values), dim=2),
            mask,
        )
        return self.add_attended(hidden, attended)


class Decoder(nn.Module):
    """The decoder stack. Takes embedded prompts: the embedding table belongs to the encoder."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_width, config.norm_eps)

    def forward(
        self,
        embedded: Tensor,
        last_positions: Tensor,
        passage_states: Tensor,
        slot_mask: Tensor,
    ) -> Tensor:
        """Reads right-padded prompts against passages.

        Causal attention keeps padding at the right end out of every real position, so prompts
        need no mask of their own.

        Args:
            embedded: [B, T, D] embedded prompt tokens.
            last_positions: [B] integer, index of each prompt's last token.
            passage_states: [B, C, D].
            slot_mask: [B, C] boolean, True at slots.

        Returns:
            [B, D], the normalised state at the last token of each prompt.
        """
        num_tokens = embedded.shape[1]
        rotary = {
            layer_type: rotary_tables(settings, num_tokens, self.config.head_width, like=embedded)
            for layer_type, settings in self.config.rotary.items()
        }
        masks = {
            layer_type: additive(seen, embedded.dtype)
            for layer_type, seen in self._merged_masks(num_tokens, slot_mask).items()
        }
        hidden = embedded
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            layer_type = self.config.layer_types[index]
            only = last_positions if index == last else None
            hidden = layer(hidden, passage_states, rotary[layer_type], masks[layer_type], only)
        return self.norm(hidden.squeeze(1))  # type: ignore[no-any-return]

    def _merged_masks(self, num_tokens: int, slot_mask: Tensor) -> dict[LayerType, Tensor]:
        """Boolean [B, 1, T, T + C] per layer type; B is 1 where no row has padded slots."""
        slots = slot_mask[:1] if bool(slot_mask.all()) else slot_mask
        passage = slots[:, None, None, :].expand(-1, 1, num_tokens, -1)  # [B, 1, T, C]
        masks: dict[LayerType, Tensor] = {}
        windows: dict[LayerType, int | None] = {
            "full": None,
            "sliding": self.config.sliding_window,
        }
        for layer_type, window in windows.items():
            own = decoder_window(num_tokens, window, slot_mask.device)
            own = own[None, None].expand(len(slots), 1, -1, -1)  # [B, 1, T, T]
            masks[layer_type] = torch.cat((own, passage), dim=-1)
        return masks
