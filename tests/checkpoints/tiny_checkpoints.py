"""Checkpoint directories small enough to read: real files, two numbers of weights."""

import json

import numpy as np
from safetensors.numpy import save

CONFIG = {
    "model_type": "t5gemma2",
    "encoder": {"text_config": {"hidden_size": 2, "vocab_size": 3}, "vision_config": {"a": 1}},
    "decoder": {"hidden_size": 2, "vocab_size": 3},
    "eoi_token_index": 7,
    "transformers_version": "5.23.0",
}


def weights(value: float) -> bytes:
    """Returns a safetensors file with one tensor."""
    return save({"weight": np.full(2, value, dtype=np.float32)})


def checkpoint_files(*, num_shards: int = 1, settings: object = None) -> dict[str, bytes]:
    """Returns a complete checkpoint as file name to content."""
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": b'{"model": {}}',
        "tokenizer_config.json": b"{}",
    }
    if settings is not None:
        files["reranker_config.json"] = json.dumps(settings).encode()
    if num_shards == 1:
        return files | {"model.safetensors": weights(1.0)}
    shards = [f"model-{i:05}-of-{num_shards:05}.safetensors" for i in range(1, num_shards + 1)]
    index = {"metadata": {}, "weight_map": {f"tensor{i}": name for i, name in enumerate(shards)}}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    return files | {name: weights(float(i)) for i, name in enumerate(shards)}
