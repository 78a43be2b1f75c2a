"""The passage encoder: token ids to one state per token, read in both directions.

Shape letters: P passages, S tokens of the longest one, N tokens of all, D hidden width, H query
heads, K head width.

Inside, a batch is a row per token without padding (`PackedRows`), as one sequence [1, N, D].
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from kalm_reranker.model.attention import RotaryTables
from kalm_reranker.model.block import Block
from kalm_reranker.model.config import StackConfig
from kalm_reranker.model.encoder_attention import PassageAttention, passage_attention
from kalm_reranker.model.layers import RMSNorm, ScaledEmbedding, rotary_tables
from kalm_reranker.model.packed_rows import PackedRows

# Tokens that go through norms, projections and MLP at once. They bound memory, since the MLP is up
# to four times as wide as the states; on a CPU they also keep what passes between them in cache.
_ROWS_AT_ONCE = 1024
_ROWS_AT_ONCE_ON_ACCELERATORS = 65_536


class EncoderLayer(Block):
    """Every passage token attends to its passage."""

    def forward(self, hidden: Tensor, rotary: RotaryTables, attention: PassageAttention) -> Tensor:
        """Runs the layer.

        Args:
            hidden: [1, N, D].
            rotary: cos and sin [N, K].
            attention: Knows which rows belong together.

        Returns:
            [1, N, D].
        """
        mixed = self._mix(hidden, rotary, attention)
        parts = [
            self.add_attended(hidden[:, rows], self.self_attn.o_proj(mixed[:, rows]))
            for rows in row_runs(hidden)
        ]
        return _joined(parts, dim=1)

    def _mix(self, hidden: Tensor, rotary: RotaryTables, attention: PassageAttention) -> Tensor:
        """Returns the mixed values [1, N, H * K] of all tokens."""
        queries: list[Tensor] = []
        keys: list[Tensor] = []
        values: list[Tensor] = []
        cos, sin = rotary
        for rows in row_runs(hidden):
            normed = self.pre_self_attn_layernorm(hidden[:, rows])
            here = (cos[rows], sin[rows])
            queries.append(self.self_attn.queries(normed, here))
            for heads, into in zip(
                self.self_attn.keys_values(normed, here), (keys, values), strict=True
            ):
                into.append(heads)
        return attention(*(_joined(heads, dim=2) for heads in (queries, keys, values)))


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
            States [P, S, D] in the model's dtype, zero at padding.
        """
        config, rows = self.config, PackedRows(mask)
        hidden = self.embed_tokens(rows.pack(token_ids).unsqueeze(0))  # [1, N, D]
        positions = rows.positions(hidden.device)
        rotary: dict[str, RotaryTables] = {}
        for layer_type, settings in config.rotary.items():
            tables = rotary_tables(settings, rows.longest, config.head_width, like=hidden)
            rotary[layer_type] = (tables[0][positions], tables[1][positions])
        attention = {
            "sliding": passage_attention(
                rows, config.sliding_window, config.attention_scale, hidden.device
            ),
            "full": passage_attention(rows, None, config.attention_scale, hidden.device),
        }
        for layer, layer_type in zip(self.layers, config.layer_types, strict=True):
            hidden = layer(hidden, rotary[layer_type], attention[layer_type])
        states = _joined([self.norm(hidden[:, run]) for run in row_runs(hidden)], dim=1)
        return rows.unpack(states.squeeze(0))


def row_runs(hidden: Tensor) -> Iterator[slice]:
    """Yields runs of the rows [1, N, D] that are computed at once."""
    size = _ROWS_AT_ONCE if hidden.device.type == "cpu" else _ROWS_AT_ONCE_ON_ACCELERATORS
    for start in range(0, hidden.shape[1], size):
        yield slice(start, start + size)


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)
