"""The decoder step in PyTorch: eager, compiled, and with int8 matrix products.

Every builder takes a problem's folder and gives a step: query number -> logits [B, 2] float32.
"""

import importlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from runtime_inputs import Inputs, Step
from runtime_step import load_step
from torch import Tensor, nn

from kalm_reranker.model.decoder import DecoderLayer


def eager(folder: Path, dtype: str) -> Step:
    """Builds the package's own decoder, as it stands."""
    chosen: torch.dtype = getattr(torch, dtype)
    return _step(load_step(folder, chosen), folder, chosen)


def fused(folder: Path, dtype: str) -> Step:
    """Builds the package's own decoder with its fused linear layers."""
    engine = importlib.import_module("kalm_reranker.engine.fused_cpu")
    chosen: torch.dtype = getattr(torch, dtype)
    if reason := engine.why_not_fused(chosen):
        raise RuntimeError(reason)
    module = load_step(folder, chosen)
    engine.fuse_linear_layers(module)
    return _step(module, folder, chosen)


def int8(folder: Path, dtype: str) -> Step:
    """Builds the package's own decoder with its 8-bit layers; the rest stays in `dtype`."""
    engine = importlib.import_module("kalm_reranker.engine.int8")
    chosen: torch.dtype = getattr(torch, dtype)
    module = load_step(folder, chosen)
    for layer in module.decoder.layers:
        assert isinstance(layer, DecoderLayer)
        for name, child in list(layer.self_attn.named_children()):
            if isinstance(child, nn.Linear):
                setattr(layer.self_attn, name, engine.Int8Linear.from_linear(child))
        layer.mlp = engine.Int8GatedMLP.from_mlp(layer.mlp)
    return _step(module, folder, chosen)


def compiled(folder: Path, dtype: str, *, freezing: bool = False, whole: bool = True) -> Step:
    """Builds an inductor-compiled decoder, for one B, T and C.

    Args:
        folder: The problem.
        dtype: Name of a torch dtype.
        freezing: Weights become constants, packed for the matrix kernels.
        whole: One graph for all layers; else each layer is compiled for itself, which the
            compiler does once for all that are alike.
    """
    chosen: torch.dtype = getattr(torch, dtype)
    module = load_step(folder, chosen)
    if freezing:
        _freeze()
    if whole:
        return _step(torch.compile(module, dynamic=False), folder, chosen)
    for layer in module.decoder.layers:
        layer.compile(dynamic=False)
    return _step(module, folder, chosen)


def dynamic_linears(folder: Path) -> Step:
    """Builds float32 with PyTorch's own dynamically quantized linear layers."""
    module = load_step(folder, torch.float32)
    quantization = importlib.import_module("torch.ao.quantization")
    with warnings.catch_warnings():  # deprecated in favor of torchao, and still there
        warnings.simplefilter("ignore")
        per_channel = quantization.per_channel_dynamic_qconfig
        module = quantization.quantize_dynamic(module, {nn.Linear: per_channel})
        return _step(module, folder, torch.float32)


def torchao_linears(folder: Path, dtype: str) -> Step:
    """Builds torchao's int8 linear layers, compiled: int8 rows of inputs, int8 output channels."""
    chosen: torch.dtype = getattr(torch, dtype)
    torchao = importlib.import_module("torchao.quantization")
    module = load_step(folder, chosen)
    torchao.quantize_(module, torchao.Int8DynamicActivationInt8WeightConfig())
    _freeze()
    return _step(torch.compile(module, dynamic=False), folder, chosen)


def x86_inductor(folder: Path, *, bfloat16: bool) -> Step:
    """Builds int8 through export and the x86 quantizer, inputs of products quantized as they come.

    Args:
        folder: The problem.
        bfloat16: Whether what is not int8 runs in bfloat16 (autocast) or in float32.
    """
    pt2e = importlib.import_module("torchao.quantization.pt2e.quantize_pt2e")
    quantizers = importlib.import_module(
        "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer"
    )
    module = load_step(folder, torch.float32)
    inputs = Inputs.load(folder)
    example = (torch.from_numpy(inputs.prompts[0]), torch.from_numpy(inputs.states[0]))
    with torch.no_grad():
        exported = torch.export.export(module, example).module()
        quantizer = quantizers.X86InductorQuantizer().set_global(
            quantizers.get_default_x86_inductor_quantization_config(is_dynamic=True)
        )
        prepared = pt2e.prepare_pt2e(exported, quantizer)
        prepared(*example)
        converted: nn.Module = pt2e.convert_pt2e(prepared)
    _freeze()
    compiled_module: Callable[..., Tensor] = torch.compile(converted, dynamic=False)

    def autocast(prompt: Tensor, states: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return compiled_module(prompt, states)

    return _step(autocast, folder, torch.float32)


def _freeze() -> None:
    """Lets the compiler treat weights as constants."""
    config: Any = importlib.import_module("torch._inductor.config")
    config.freezing = True


def _step(module: Callable[[Tensor, Tensor], Tensor], folder: Path, dtype: torch.dtype) -> Step:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    inputs = Inputs.load(folder)
    # Stored states are in the model's dtype: converting them is no part of the step.
    prompts = [torch.from_numpy(prompt).to(dtype) for prompt in inputs.prompts]
    states = [torch.from_numpy(candidates).to(dtype) for candidates in inputs.states]

    def step(query: int) -> np.ndarray:
        with torch.no_grad():  # frozen graphs refuse inference tensors
            hidden = module(prompts[query], states[query])
        return inputs.logits(hidden.float().numpy())

    return step
