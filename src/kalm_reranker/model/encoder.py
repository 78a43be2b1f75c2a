"""The passage encoder: token ids to one state per token, read in both directions.

Shape letters: P passages, S passage tokens, D hidden width.
"""

import torch
from torch import Tensor, nn

from kalm_reranker.model.attention import RotaryTables, additive, encoder_window
from kalm_reranker.model.block import Block
from kalm_reranker.model.config import LayerType, StackConfig
from kalm_reranker.model.layers import RMSNorm, ScaledEmbedding, rotary_tables


class EncoderLayer(Block):
    """Every passage token attends to its passage."""

    def forward(self, hidden: Tensor, rotary: RotaryTables, mask: Tensor | None) -> Tensor:
        """[P, S, D] -> [P, S, D]."""
        normed = self.pre_self_attn_layernorm(hidden)
        queries = self.self_attn.queries(normed, rotary)
        keys, values = self.self_attn.keys_values(normed, rotary)
        attended = self.self_attn.attend(queries, keys, values, mask)
        return self.add_attended(hidden, attended)


class Encoder(nn.Module):
    """The text encoder. Owns the embedding table that decoder and output head share."""

    def __init__(self, config: StackConfig, eoi_token_id: int) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = ScaledEmbedding(config.vocab_size, config.hidden_width, eoi_token_id)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_width, config.norm_eps)

    def forward(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Encodes a right-padded batch of passages.

        Args:
            token_ids: [P, S] integer.
            mask: [P, S] boolean, True at tokens.

        Returns:
            States [P, S, D] in the model's dtype; finite but meaningless at padding.
        """
        hidden = self.embed_tokens(token_ids)
        num_tokens = token_ids.shape[1]
        rotary = {
            layer_type: rotary_tables(settings, num_tokens, self.config.head_width, like=hidden)
            for layer_type, settings in self.config.rotary.items()
        }
        masks = {
            layer_type: None if seen is None else additive(seen, hidden.dtype)
            for layer_type, seen in self._attention_masks(mask).items()
        }
        for layer, layer_type in zip(self.layers, self.config.layer_types, strict=True):
            hidden = layer(hidden, rotary[layer_type], masks[layer_type])
        return self.norm(hidden)  # type: ignore[no-any-return]

    def _attention_masks(self, mask: Tensor) -> dict[LayerType, Tensor | None]:
        num_tokens = mask.shape[1]
        # No mask at all lets the attention kernel take its fastest path.
        padding = None if bool(mask.all()) else mask[:, None, None, :]  # [P, 1, 1, S]
        if num_tokens <= self.config.sliding_window // 2 + 1 and (
            num_tokens <= (self.config.sliding_window + 1) // 2
        ):
            return {"full": padding, "sliding": padding}  # every token sees every other
        window = encoder_window(num_tokens, self.config.sliding_window, mask.device)
        if padding is None:
            return {"full": None, "sliding": window[None, None]}
        # A padding position beyond the window of every token would see no key at all and turn
        # into NaN, which then spreads through its value; let each position see itself.
        itself = torch.eye(num_tokens, dtype=torch.bool, device=mask.device)
        return {"full": padding, "sliding": (window & padding) | itself}
