"""Writes a checkpoint with random weights, one tensor at a time.

Whatever the size of the model, no more than one tensor of it is in memory.
"""

import json
import math
import shutil
import struct
from pathlib import Path

import torch

from kalm_reranker.bench.shapes import Shape
from kalm_reranker.checkpoints.bundled import bundled_checkpoint
from kalm_reranker.checkpoints.checkpoint import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE
from kalm_reranker.checkpoints.settings import SETTINGS_FILE
from kalm_reranker.model.config import ModelConfig
from kalm_reranker.model.reranker_model import RerankerModel
from kalm_reranker.prompts import TEMPLATE_VERSION

_DTYPES = {"bfloat16": (torch.bfloat16, "BF16"), "float32": (torch.float32, "F32")}
# Large models repeat so many draws: time depends on the shapes, and drawing billions takes minutes.
_DRAWN = 2**22
_LOGIT_SIZE = 6.0  # as large as logits of trained models


def write_random_checkpoint(shape: Shape, directory: Path, *, seed: int) -> Path:
    """Writes `config.json`, settings, random weights and pico's tokenizer.

    Weights are normal with a deviation of 1 / sqrt(fan in), so that activations keep their size
    through all layers; norms are the identity. The names of the tensors are those of this
    package's model, which are the ones Transformers saves.

    Args:
        shape: Sizes.
        directory: An existing directory.
        seed: Of the draws; the same seed gives the same bytes.

    Returns:
        `directory`.
    """
    config = shape.config()
    (directory / CONFIG_FILE).write_text(json.dumps(config, indent=2), encoding="utf-8")
    settings = {"template_version": TEMPLATE_VERSION, "default_ratio": shape.ratio}
    (directory / SETTINGS_FILE).write_text(json.dumps(settings), encoding="utf-8")
    shutil.copy(bundled_checkpoint().tokenizer_path, directory / TOKENIZER_FILE)
    with torch.device("meta"):
        model = RerankerModel(ModelConfig.from_dict(config))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    _write_safetensors(directory / WEIGHTS_FILE, shapes, shape.dtype, seed)
    return directory


def _write_safetensors(
    path: Path, shapes: dict[str, tuple[int, ...]], dtype_name: str, seed: int
) -> None:
    dtype, stored_name = _DTYPES[dtype_name]
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, sizes in shapes.items():
        start, end = end, end + math.prod(sizes) * dtype.itemsize
        header[name] = {
            "dtype": stored_name,
            "shape": list(sizes),
            "data_offsets": [start, end],
        }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # the data begin at a multiple of 8
    drawn = torch.randn(_DRAWN, generator=torch.Generator().manual_seed(seed))
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)))
        file.write(encoded)
        for number, (name, sizes) in enumerate(shapes.items()):
            # Each tensor begins elsewhere among the draws, or equal shapes would be equal.
            values = drawn.roll(-number * 7_919)[: math.prod(sizes)] * _deviation(name, sizes)
            data = values.to(dtype).view(torch.uint8).numpy().data
            left = math.prod(sizes) * dtype.itemsize
            while left > 0:
                file.write(data[:left])
                left -= len(data)


def _deviation(name: str, sizes: tuple[int, ...]) -> float:
    if "norm" in name or "eoi_embedding" in name:
        return 0.0
    scale = _LOGIT_SIZE if "embed_tokens" in name else 1.0
    return float(scale * sizes[-1] ** -0.5)
