"""Mistakes one could make in the model code, each of which the parity tests must see."""

from dataclasses import replace

import pytest
import torch

import kalm_reranker.model.attention as attention
import kalm_reranker.model.context as context
import kalm_reranker.model.decoder as decoder
import kalm_reranker.model.encoder as encoder
import kalm_reranker.model.encoder_attention as encoder_attention
import kalm_reranker.model.reranker_model as reranker_model
import kalm_reranker.model.sliding_window as sliding_window
from kalm_reranker import KaLMReranker
from kalm_reranker.encoding.tokenizer import RerankerTokenizer
from kalm_reranker.model.block import Block
from kalm_reranker.model.config import RotaryConfig
from kalm_reranker.model.layers import RMSNorm, ScaledEmbedding, rotary_tables
from kalm_reranker.model.packed_rows import PackedRows
from kalm_reranker.prompts import prompt_segments
from tests.parity.assertions import assert_float32_margins_equal_reference
from tests.parity.pairs import pairs


def swapped_norms(monkeypatch):
    def add_attended(self, hidden, attended):
        hidden = hidden + self.post_feedforward_layernorm(attended)
        transformed = self.mlp(self.pre_feedforward_layernorm(hidden))
        return hidden + self.post_self_attn_layernorm(transformed)

    monkeypatch.setattr(Block, "add_attended", add_attended)


def norm_without_the_one(monkeypatch):
    def forward(self, hidden):
        scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.eps)
        return hidden * scale * self.weight

    monkeypatch.setattr(RMSNorm, "forward", forward)


def encoder_window_one_too_far_back(monkeypatch):
    original = encoder_attention.encoder_window

    def window(queries, keys, size):
        further = queries.unsqueeze(-1) - (size + 1) // 2 == keys.unsqueeze(-2)
        return original(queries, keys, size) | further

    monkeypatch.setattr(encoder_attention, "encoder_window", window)


def encoder_window_one_less_forward(monkeypatch):
    original = encoder_attention.encoder_window

    def window(queries, keys, size):
        return original(queries, keys, size) & original(queries, keys, size - 1)

    monkeypatch.setattr(encoder_attention, "encoder_window", window)


def blocks_that_lack_their_last_keys(monkeypatch):
    original = sliding_window.blocks

    def blocks(num_tokens, size, window):
        for block in original(num_tokens, size, window):
            yield block._replace(end_key=max(block.end_query, block.end_key - 1))

    monkeypatch.setattr(encoder_attention, "blocks", blocks)


def passages_that_see_their_neighbours(monkeypatch):
    original = encoder_attention.BlockedAttention._blocks

    def blocks(self, repeats, like):
        for block in original(self, repeats, like):
            further = slice(block.keys.start, block.keys.stop + 1)
            yield block if block.mask is not None else block._replace(keys=further)

    monkeypatch.setattr(encoder_attention.BlockedAttention, "_blocks", blocks)


def positions_that_run_on_through_the_batch(monkeypatch):
    def positions(self, device):
        return torch.arange(self.num_rows, device=device) % self.longest

    monkeypatch.setattr(PackedRows, "positions", positions)


def decoder_window_off_by_one(monkeypatch):
    original = attention.decoder_window

    def window(num_tokens, size, device, *, before=0):
        return original(num_tokens, None if size is None else size + 1, device, before=before)

    monkeypatch.setattr(context, "decoder_window", window)


def unscaled_tables(config, num_positions, head_width, **options):
    return rotary_tables(RotaryConfig(theta=config.theta), num_positions, head_width, **options)


def dropped_rope_scaling(monkeypatch):
    monkeypatch.setattr(encoder, "rotary_tables", unscaled_tables)


def swapped_rotary_bases(monkeypatch):
    def swapped(config, num_positions, head_width, **options):
        theta = 10_000.0 if config.theta > 500_000 else 1_000_000.0
        config = RotaryConfig(theta=theta, linear_factor=config.linear_factor)
        return rotary_tables(config, num_positions, head_width, **options)

    monkeypatch.setattr(encoder, "rotary_tables", swapped)


def dropped_rope_scaling_in_the_decoder(monkeypatch):
    monkeypatch.setattr(decoder, "rotary_tables", unscaled_tables)


def windowed_passage_keys(monkeypatch):
    original = decoder.merged_masks

    def merged_masks(config, num_tokens, passages, *, like):
        masks = original(config, num_tokens, passages, like=like)
        sliding = masks["sliding"].clone()
        sliding[..., config.sliding_window : passages.num_keys] = -torch.inf
        return {**masks, "sliding": sliding}

    monkeypatch.setattr(decoder, "merged_masks", merged_masks)


def rotary_on_passage_keys(monkeypatch):
    def passage_keys_values(self, slots):
        rotary = rotary_tables(
            RotaryConfig(theta=10_000.0), len(slots), self.head_width, like=slots
        )
        keys, values = self.keys_values(slots.unsqueeze(0), rotary)  # [1, G, N, K]
        return keys.squeeze(0).transpose(0, 1), values.squeeze(0).transpose(0, 1)

    monkeypatch.setattr(attention.Attention, "passage_keys_values", passage_keys_values)


def swapped_head_norms(monkeypatch):
    original = attention.Attention.__init__

    def init(self, config):
        original(self, config)
        self.q_norm.forward = lambda heads: RMSNorm.forward(self.k_norm, heads)

    monkeypatch.setattr(attention.Attention, "__init__", init)


def ignored_eoi_embedding(monkeypatch):
    def forward(self, token_ids):
        return torch.nn.functional.embedding(token_ids, self.weight) * self.scale

    monkeypatch.setattr(ScaledEmbedding, "forward", forward)


def visible_slot_padding(monkeypatch):
    original = decoder.merged_masks
    monkeypatch.setattr(
        decoder,
        "merged_masks",
        lambda config, num_tokens, passages, *, like: original(
            config, num_tokens, replace(passages, mask=None), like=like
        ),
    )


def last_slot_divided_by_the_ratio(monkeypatch):
    original = reranker_model.pool_states

    def pool(states, mask, ratio):
        slots, slot_mask = original(states, mask, ratio)
        counts = torch.nn.functional.pad(mask, (0, -mask.shape[1] % ratio))
        counts = counts.unflatten(1, (-1, ratio)).sum(-1, keepdim=True)
        return slots * counts / ratio, slot_mask

    monkeypatch.setattr(reranker_model, "pool_states", pool)


def read_at_the_padded_end(monkeypatch):
    original = decoder.Decoder.forward

    def forward(self, embedded, last_positions, passages):
        end = torch.full_like(last_positions, embedded.shape[1] - 1)
        return original(self, embedded, end, passages)

    monkeypatch.setattr(decoder.Decoder, "forward", forward)


def forgotten_softcap(monkeypatch):
    original = reranker_model.RerankerModel.__init__

    def init(self, config):
        original(self, config)
        object.__setattr__(self.config.decoder, "final_logit_softcap", None)

    monkeypatch.setattr(reranker_model.RerankerModel, "__init__", init)


def query_without_its_round_trip(monkeypatch):
    def encode_prompt(self, query, *, instruction, system_instruction, query_max_length):
        segments = prompt_segments(
            query, instruction=instruction, system_instruction=system_instruction
        )
        text = "".join(segment.text for segment in segments)
        return self._tokenizer.encode(text, add_special_tokens=False).ids, False

    monkeypatch.setattr(RerankerTokenizer, "encode_prompt", encode_prompt)


@pytest.mark.parametrize(
    ("mutate", "kind"),
    [
        (swapped_norms, "grouped"),
        (norm_without_the_one, "grouped"),
        (encoder_window_one_too_far_back, "grouped"),
        (encoder_window_one_less_forward, "grouped"),
        (blocks_that_lack_their_last_keys, "grouped"),
        (passages_that_see_their_neighbours, "grouped"),
        (positions_that_run_on_through_the_batch, "grouped"),
        (decoder_window_off_by_one, "grouped"),
        (dropped_rope_scaling, "linear_rope"),
        (dropped_rope_scaling_in_the_decoder, "linear_rope"),
        (windowed_passage_keys, "grouped"),
        (swapped_rotary_bases, "grouped"),
        (rotary_on_passage_keys, "grouped"),
        (swapped_head_norms, "grouped"),
        (ignored_eoi_embedding, "single_head"),
        (visible_slot_padding, "grouped"),
        (last_slot_divided_by_the_ratio, "grouped"),
        (read_at_the_padded_end, "grouped"),
        (forgotten_softcap, "softcap_bias"),
        (query_without_its_round_trip, "grouped"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_parity_tests_see(checkpoints, monkeypatch, mutate, kind):
    mutate(monkeypatch)
    reranker = KaLMReranker(checkpoints[kind], dtype="float32")
    with pytest.raises(AssertionError, match="difference"):
        assert_float32_margins_equal_reference(
            checkpoints[kind], pairs(20), ratio=4, reranker=reranker
        )
