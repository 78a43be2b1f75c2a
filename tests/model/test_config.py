import copy
import json

import pytest

from kalm_reranker.checkpoints.bundled import bundled_checkpoint
from kalm_reranker.errors import InvalidCheckpointError
from kalm_reranker.model.config import ModelConfig

PICO = json.loads(bundled_checkpoint().config_path.read_text())


def changed(path: str, value) -> dict:
    config = copy.deepcopy(PICO)
    *parents, last = path.split(".")
    place = config
    for key in parents:
        place = place[key]
    place[last] = value
    return config


def test_pico():
    config = ModelConfig.from_dict(PICO)
    stack = config.decoder
    assert config.encoder == stack
    assert (stack.hidden_width, stack.mlp_width, stack.num_layers) == (256, 768, 6)
    assert (stack.num_query_heads, stack.num_key_value_heads, stack.head_width) == (4, 1, 64)
    assert stack.layer_types == ("sliding",) * 5 + ("full",)
    assert stack.attention_scale == 64**-0.5
    assert stack.rotary["full"].theta == 1_000_000.0
    assert stack.rotary["sliding"].theta == 10_000.0
    assert config.eoi_token_id == 256_000


def test_what_config_json_leaves_out_has_the_reference_default():
    config = ModelConfig.from_dict(
        {"model_type": "t5gemma2", "encoder": {"text_config": {}}, "decoder": {}}
    )
    from transformers import T5Gemma2Config

    reference = T5Gemma2Config().decoder
    assert config.decoder.hidden_width == reference.hidden_size
    assert config.decoder.mlp_width == reference.intermediate_size
    assert config.decoder.num_layers == reference.num_hidden_layers
    assert config.decoder.num_query_heads == reference.num_attention_heads
    assert config.decoder.num_key_value_heads == reference.num_key_value_heads
    assert config.decoder.head_width == reference.head_dim
    assert config.decoder.vocab_size == reference.vocab_size
    assert config.decoder.sliding_window == reference.sliding_window
    assert config.decoder.max_positions == reference.max_position_embeddings
    assert config.decoder.norm_eps == reference.rms_norm_eps
    assert config.decoder.attention_scale == reference.query_pre_attn_scalar**-0.5
    assert [f"{kind}_attention" for kind in config.decoder.layer_types] == reference.layer_types
    assert config.decoder.rotary["full"].theta == 1_000_000.0
    assert config.decoder.rotary["sliding"].theta == 10_000.0


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model_type", "qwen3", "model_type must be 't5gemma2' .*; got 'qwen3'"),
        ("tie_word_embeddings", False, "tie_word_embeddings must be true"),
        ("decoder", None, "decoder must be an object; got NoneType"),
        ("encoder.text_config", [], "encoder.text_config must be an object; got list"),
        ("decoder.hidden_size", "256", "decoder.hidden_size must be a positive integer; got '256'"),
        ("decoder.hidden_size", 512, "must have the same hidden_width; got 256 and 512"),
        ("decoder.vocab_size", 7, "must have the same vocab_size"),
        ("decoder.num_attention_heads", 0, "positive integer; got 0"),
        ("decoder.num_key_value_heads", 3, "must be a multiple of num_key_value_heads"),
        ("decoder.rms_norm_eps", -1.0, "positive number; got -1.0"),
        ("decoder.hidden_activation", "relu", "must be 'gelu_pytorch_tanh'; got 'relu'"),
        ("decoder.layer_types", ["full_attention"], "for each of the 6 layers"),
        ("decoder.sliding_window", None, "sliding_window must be a positive integer; got None"),
        ("decoder.query_pre_attn_scalar", float("inf"), "positive number; got inf"),
        ("decoder.rms_norm_eps", float("nan"), "positive number; got nan"),
        ("encoder.eoi_token_index", 10**30, "positive integer; got 1000"),
        ("decoder.layer_types", [{}] * 6, "for each of the 6 layers"),
        ("decoder.rope_parameters", "yarn", "rope_parameters must be an object; got str"),
        (
            "decoder.rope_parameters.full_attention",
            "yarn",
            "rope_parameters.full_attention must be an object; got str",
        ),
        (
            "decoder.rope_scaling",
            {"type": "linear", "factor": 8.0},
            "has type 'linear' and rope_type 'default'",
        ),
        ("decoder.rope_scaling", "linear", "rope_scaling must be an object; got str"),
        ("decoder.rope_scaling", {"rope_type": "linear"}, "is 'linear' and has no factor"),
        (
            "decoder.rope_parameters.full_attention",
            {"rope_type": "yarn", "factor": 8.0},
            "rope_type must be 'default' or 'linear'; got 'yarn'",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(path, value, message):
    with pytest.raises(InvalidCheckpointError, match=message):
        ModelConfig.from_dict(changed(path, value))
