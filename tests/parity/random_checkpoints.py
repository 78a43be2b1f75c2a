"""Random T5Gemma2 checkpoints, made offline with Transformers.

Fresh norm and end-of-image weights are zero, which would hide norms that are swapped or left
out; every parameter is drawn anew here, at scales that give margins of several units.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import T5Gemma2Config, T5Gemma2ForConditionalGeneration

from kalm_reranker.checkpoints.bundled import bundled_checkpoint

SLIDING, FULL = "sliding_attention", "full_attention"

TINY: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "vocab_size": 24_576,  # pico's tokenizer
    "sliding_window": 24,
    "layer_types": [SLIDING, FULL, SLIDING, FULL],
    "max_position_embeddings": 4096,
}
NANO: dict[str, Any] = {
    "hidden_size": 640,
    "intermediate_size": 2048,
    "num_hidden_layers": 18,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "vocab_size": 262_144,
    "sliding_window": 512,
    "max_position_embeddings": 131_072,
}
# As in Large's config: the global layers divide positions by 8.
LINEAR_SCALING = {
    FULL: {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
    SLIDING: {"rope_type": "default", "rope_theta": 10_000.0},
}
TINY_VISION = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}


def build_checkpoint(
    directory: Path,
    *,
    seed: int = 0,
    eoi_token_id: int = 256_000,
    weight_scale: float = 1.0,
    vision: dict[str, Any] = TINY_VISION,
    dtype: torch.dtype = torch.float32,
    **sizes: Any,
) -> Path:
    """Saves a random checkpoint with pico's tokenizer, in the form Transformers writes.

    `weight_scale` is relative to 1 / sqrt(fan in), which keeps activations at their size.
    """
    config = T5Gemma2Config(
        encoder={
            "text_config": dict(sizes),
            "vision_config": {
                "model_type": "siglip_vision_model",
                "num_attention_heads": 2,
                "image_size": 28,
                "patch_size": 14,
                **vision,
            },
            "mm_tokens_per_image": 1,
            "eoi_token_index": eoi_token_id,
        },
        decoder=dict(sizes),
    )
    model = T5Gemma2ForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            std = 0.4
        elif "eoi_embedding" in name:
            std = 3.0
        elif "embed_tokens" in name:
            std = 6.0 * parameter.shape[1] ** -0.5  # logits of size 6
        elif name.endswith("bias"):
            std = 0.1
        else:
            std = weight_scale * parameter.shape[-1] ** -0.5
        with torch.no_grad():
            parameter.normal_(0.0, std, generator=generator)
    model.to(dtype).save_pretrained(directory)
    shutil.copy(bundled_checkpoint().tokenizer_path, directory / "tokenizer.json")
    return directory


def copy_with(directory: Path, target: Path, *, config=None, tensors=None) -> Path:
    """Copies a checkpoint; `config` and `tensors` are functions from old content to new."""
    shutil.copytree(directory, target)
    if config is not None:
        path = target / "config.json"
        path.write_text(json.dumps(config(json.loads(path.read_text()))))
    if tensors is not None:
        path = target / "model.safetensors"
        changed = tensors(load_file(path))
        save_file(
            {name: tensor.clone() for name, tensor in changed.items()},
            path,
            metadata={"format": "pt"},
        )
    return target


def in_memory_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The second name family: the encoder's text part under `text_model`."""
    text_parts = ("layers.", "embed_tokens.", "norm.")
    renamed = {}
    for name, tensor in tensors.items():
        rest = name.removeprefix("model.encoder.")
        is_text = rest != name and rest.startswith(text_parts)
        renamed[f"model.encoder.text_model.{rest}" if is_text else name] = tensor
    return renamed


def old_config_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Rewrites `rope_parameters` and `layer_types` as configs before Transformers 5 had them."""
    for stack in (config["encoder"]["text_config"], config["decoder"]):
        rotary = stack.pop("rope_parameters")
        stack["rope_theta"] = rotary[FULL]["rope_theta"]
        stack["rope_local_base_freq"] = rotary[SLIDING]["rope_theta"]
        if rotary[FULL]["rope_type"] != "default":
            stack["rope_scaling"] = {
                "rope_type": rotary[FULL]["rope_type"],
                "factor": rotary[FULL]["factor"],
            }
        stack["sliding_window_pattern"] = stack.pop("layer_types").index(FULL) + 1
    return config
