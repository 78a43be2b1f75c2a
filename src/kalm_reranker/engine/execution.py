"""How a model is executed: chosen once, by name or by what the machine can do."""

from typing import Literal, NamedTuple, get_args

import torch

from kalm_reranker.engine.compiled import CompiledForward, compile_layers
from kalm_reranker.engine.eager import EagerForward
from kalm_reranker.engine.fused_cpu import fuse_linear_layers, why_not_fused
from kalm_reranker.engine.int8 import quantize_decoder
from kalm_reranker.engine.int8_support import int8_problem
from kalm_reranker.engine.placement import dtype_name
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.model.reranker_model import RerankerModel
from kalm_reranker.options import EngineName, QuantizationName


class ChosenEngine(NamedTuple):
    """An execution and why it was chosen, for `repr` and logs."""

    name: Literal["eager", "fused", "compiled"]
    reason: str


def choose_engine(engine: str, device: torch.device, dtype: torch.dtype) -> ChosenEngine:
    """Returns the execution asked for, or the fastest one that starts at once.

    "eager" is plain PyTorch, right on every device. "fused" has oneDNN's linear layers, on CPUs.
    "compiled" has PyTorch's compiler, and captured graphs on CUDA; it takes half a minute for
    each shape the first time, so nothing chooses it but the caller.

    Raises:
        InvalidOptionError: No such execution, or it cannot be had here.
    """
    if engine not in get_args(EngineName):
        raise InvalidOptionError(
            f"engine must be one of {', '.join(map(repr, get_args(EngineName)))}; got {engine!r}."
        )
    if engine == "eager":
        return ChosenEngine("eager", "asked for")
    if engine == "compiled":
        return ChosenEngine("compiled", "asked for")
    reason = why_not_fused(dtype) if device.type == "cpu" else f"the default on {device.type}"
    if engine == "fused" and reason is not None:
        if device.type != "cpu":
            reason = f"it runs on CPUs, and the device is {str(device)!r}"
        raise InvalidOptionError(
            f"engine 'fused' cannot be had here: {reason}.", hint="Use engine='auto'."
        )
    if reason is not None:
        return ChosenEngine("eager", reason)
    return ChosenEngine("fused", "asked for" if engine == "fused" else "the default on CPUs")


def choose_quantization(
    quantization: str | None, engine: ChosenEngine, device: torch.device, dtype: torch.dtype
) -> QuantizationName | None:
    """Returns the quantisation asked for, if it can be had.

    Raises:
        InvalidOptionError: No such quantisation, or it cannot be had here.
    """
    if quantization is None:
        return None
    if quantization not in get_args(QuantizationName):
        raise InvalidOptionError(f"quantization must be 'int8' or None; got {quantization!r}.")
    problem = None
    if device.type != "cpu":
        problem = f"it runs on CPUs, and the device is {str(device)!r}"
    elif engine.name == "compiled":
        problem = "engine 'compiled' has float weights"
    elif dtype not in (torch.float32, torch.bfloat16):
        problem = f"it needs float32 or bfloat16, and the dtype is {dtype_name(dtype)}"
    elif int8_problem() is not None:
        problem = int8_problem()
    if problem is not None:
        raise InvalidOptionError(f"quantization 'int8' cannot be had here: {problem}.")
    return "int8"


def prepare_model(
    model: RerankerModel, engine: ChosenEngine, quantization: QuantizationName | None
) -> None:
    """Brings a loaded model into the form that an execution runs."""
    if quantization == "int8":
        quantize_decoder(model)
    if engine.name == "fused":
        fuse_linear_layers(model)
    elif engine.name == "compiled":
        compile_layers(model)


def make_forward(
    model: RerankerModel, engine: ChosenEngine, yes_id: int, no_id: int
) -> EagerForward | CompiledForward:
    """Returns what runs batches through a model that `prepare_model` prepared."""
    kind = CompiledForward if engine.name == "compiled" else EagerForward
    return kind(model, yes_id, no_id)
