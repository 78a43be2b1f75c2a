"""Sizes of models by name, for checkpoints with random weights: time depends on shapes alone."""

from dataclasses import dataclass
from typing import Any

_SLIDING, _FULL = "sliding_attention", "full_attention"
_THETA = {_SLIDING: 10_000.0, _FULL: 1_000_000.0}
SUFFIX = "-shape"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of one model, the same for encoder and decoder.

    Args:
        layers: Layers of each stack.
        width: D.
        mlp_width: Width of the gated MLP.
        query_heads: H.
        key_value_heads: G.
        head_width: K.
        vocab_size: Rows of the embedding table.
        sliding_window: In tokens.
        global_every: Every so manyth layer sees everything, the others their window.
        linear_factor: Positions of global layers are divided by this.
        max_positions: Longest sequence, in tokens.
        dtype: Dtype of the weights on disk.
        ratio: Compression ratio where none is asked for.
    """

    layers: int
    width: int
    mlp_width: int
    query_heads: int
    key_value_heads: int
    head_width: int
    vocab_size: int = 262_144
    sliding_window: int = 512
    global_every: int = 6
    linear_factor: float = 1.0
    max_positions: int = 131_072
    dtype: str = "bfloat16"
    ratio: int = 4

    def config(self) -> dict[str, Any]:
        """Returns a `config.json` that this package and Transformers both read."""
        return {
            "architectures": ["T5Gemma2ForConditionalGeneration"],
            "model_type": "t5gemma2",
            "is_encoder_decoder": True,
            "tie_word_embeddings": True,
            "dtype": self.dtype,
            "vocab_size": self.vocab_size,
            "eoi_token_index": 256_000,
            "image_token_index": 256_001,
            "encoder": {
                "model_type": "t5gemma2_encoder",
                "boi_token_index": 255_999,
                "eoi_token_index": 256_000,
                "image_token_index": 256_001,
                "mm_tokens_per_image": 1,
                "tie_word_embeddings": True,
                "text_config": self._stack("t5gemma2_text"),
                # Transformers cannot be told to have no vision tower; this one weighs nothing.
                "vision_config": {
                    "model_type": "siglip_vision_model",
                    "hidden_size": 32,
                    "intermediate_size": 32,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "image_size": 28,
                    "patch_size": 14,
                },
            },
            "decoder": self._stack("t5gemma2_decoder"),
        }

    def _stack(self, model_type: str) -> dict[str, Any]:
        rope = {
            name: {"rope_type": "default", "rope_theta": theta} for name, theta in _THETA.items()
        }
        if self.linear_factor != 1.0:
            scaling = {"rope_type": "linear", "factor": self.linear_factor}
            rope[_FULL] = {**scaling, "rope_theta": _THETA[_FULL]}
        return {
            "model_type": model_type,
            "hidden_activation": "gelu_pytorch_tanh",
            "hidden_size": self.width,
            "intermediate_size": self.mlp_width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.query_heads,
            "num_key_value_heads": self.key_value_heads,
            "head_dim": self.head_width,
            "query_pre_attn_scalar": self.head_width,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_positions,
            "sliding_window": self.sliding_window,
            "layer_types": [
                _SLIDING if (layer + 1) % self.global_every else _FULL
                for layer in range(self.layers)
            ],
            "rope_parameters": rope,
            "rms_norm_eps": 1e-6,
            "attention_bias": False,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "tie_word_embeddings": True,
            "bos_token_id": 2,
            "eos_token_id": 1,
            "pad_token_id": 0,
        }


# Nano, Small and Large as published, without the vision tower; tiny is for trying things out.
SHAPES: dict[str, Shape] = {
    "tiny-shape": Shape(
        layers=4,
        width=64,
        mlp_width=96,
        query_heads=4,
        key_value_heads=2,
        head_width=16,
        vocab_size=24_576,
        sliding_window=24,
        global_every=2,
        max_positions=8_192,
        dtype="float32",
    ),
    "pico-shape": Shape(
        layers=6,
        width=256,
        mlp_width=768,
        query_heads=4,
        key_value_heads=1,
        head_width=64,
        vocab_size=24_576,
        max_positions=8_192,
        ratio=2,
    ),
    "nano-shape": Shape(
        layers=18, width=640, mlp_width=2_048, query_heads=4, key_value_heads=1, head_width=256
    ),
    "small-shape": Shape(
        layers=26, width=1_152, mlp_width=6_912, query_heads=4, key_value_heads=1, head_width=256
    ),
    "large-shape": Shape(
        layers=34,
        width=2_560,
        mlp_width=10_240,
        query_heads=8,
        key_value_heads=4,
        head_width=256,
        sliding_window=1_024,
        linear_factor=8.0,
    ),
}
