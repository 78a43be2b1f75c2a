"""How a model is executed: chosen once, by name or by what the machine can do."""

from typing import Literal, NamedTuple, get_args

import torch

from kalm_reranker.engine.fused_cpu import fuse_linear_layers, why_not_fused
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.model.reranker_model import RerankerModel

EngineName = Literal["auto", "eager", "fused", "compiled"]


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


def prepare_model(model: RerankerModel, engine: ChosenEngine) -> None:
    """Brings a loaded model into the form that an execution runs."""
    if engine.name == "fused":
        fuse_linear_layers(model)
