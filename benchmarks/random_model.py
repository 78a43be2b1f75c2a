"""Models with random weights, for what depends on shapes alone: time, bytes and memory."""

import importlib
import sys
from pathlib import Path

import torch
from report import tell

SHAPES = ("nano-shape", "tiny-shape")


def model_path(name: str, folder: Path) -> str:
    """Returns what `KaLMReranker` loads: the name itself, or a random checkpoint in `folder`.

    A checkpoint that is there already is taken as it is.

    Args:
        name: A model, or "nano-shape" (bfloat16) or "tiny-shape" (4 layers of width 64).
        folder: Where random checkpoints are kept, each in a folder of its own.
    """
    if name not in SHAPES:
        return name
    target = folder / name
    if not (target / "model.safetensors").is_file():
        tell(f"making a random checkpoint of {name}")
        # They are the tests' own: a shape that is tested for parity is the one that is timed.
        root = str(Path(__file__).parents[1])
        if root not in sys.path:
            sys.path.append(root)
        random_checkpoints = importlib.import_module("tests.parity.random_checkpoints")
        if name == "nano-shape":
            random_checkpoints.build_checkpoint(
                target, dtype=torch.bfloat16, **random_checkpoints.NANO
            )
        else:
            random_checkpoints.build_checkpoint(target, **random_checkpoints.TINY)
    return str(target)
