"""The ways to run the decoder step, by name. To compare another one, add a line.

A builder takes the problem's folder, then its options, and gives a `Step`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One runtime with one precision.

    Attributes:
        builder: "module:function", imported by the process that runs it and by no other.
        options: Given to the builder.
        export: The file of `runtime_export.EXPORTS` that it loads; None if it loads none.
        modules: What must be installed, by import names.
        compiles: Whether torch.compile works on it, so that a first process fills its cache.
    """

    builder: str
    options: Mapping[str, Any] = field(default_factory=dict)
    export: str | None = None
    modules: tuple[str, ...] = ()
    compiles: bool = False

    def missing(self) -> list[str]:
        """Returns the modules that are not installed."""
        return [name for name in self.modules if find_spec(name) is None]


REFERENCE = "torch float32"
_ONNX, _OPENVINO = "runtime_onnx:onnxruntime_session", "runtime_onnx:openvino_model"
_EXPORT = ("onnx", "onnxscript")

VARIANTS: dict[str, Variant] = {
    REFERENCE: Variant("runtime_torch:eager", {"dtype": "float32"}),
    "torch bfloat16": Variant("runtime_torch:eager", {"dtype": "bfloat16"}),
    "torch bfloat16, fused": Variant(
        "runtime_torch:fused", {"dtype": "bfloat16"}, modules=("kalm_reranker.engine.fused_cpu",)
    ),
    "torch bfloat16, int8 layers": Variant(
        "runtime_torch:int8", {"dtype": "bfloat16"}, modules=("kalm_reranker.engine.int8",)
    ),
    "torch.compile bfloat16, by layer": Variant(
        "runtime_torch:compiled", {"dtype": "bfloat16", "whole": False}, compiles=True
    ),
    "torch.compile bfloat16": Variant(
        "runtime_torch:compiled", {"dtype": "bfloat16"}, compiles=True
    ),
    "torch.compile bfloat16, frozen": Variant(
        "runtime_torch:compiled", {"dtype": "bfloat16", "freezing": True}, compiles=True
    ),
    "torch.ao int8 linears": Variant("runtime_torch:dynamic_linears"),
    "torchao int8, compiled, bfloat16": Variant(
        "runtime_torch:torchao_linears",
        {"dtype": "bfloat16"},
        modules=("torchao",),
        compiles=True,
    ),
    "torchao x86 int8, compiled, bfloat16": Variant(
        "runtime_torch:x86_inductor", {"bfloat16": True}, modules=("torchao",), compiles=True
    ),
    "ONNX Runtime float32": Variant(
        _ONNX, {"name": "float32"}, "float32.onnx", ("onnxruntime", *_EXPORT)
    ),
    "ONNX Runtime bfloat16": Variant(
        _ONNX, {"name": "bfloat16"}, "bfloat16.onnx", ("onnxruntime", *_EXPORT)
    ),
    "ONNX Runtime int8": Variant(_ONNX, {"name": "int8"}, "int8.onnx", ("onnxruntime", *_EXPORT)),
    "ONNX Runtime int8 blocks": Variant(
        _ONNX, {"name": "int8-blocks"}, "int8-blocks.onnx", ("onnxruntime", *_EXPORT)
    ),
    "OpenVINO float32": Variant(
        _OPENVINO, {"name": "float32", "precision": "f32"}, "float32.xml", ("openvino", *_EXPORT)
    ),
    "OpenVINO bfloat16": Variant(
        _OPENVINO, {"name": "float32", "precision": "bf16"}, "float32.xml", ("openvino", *_EXPORT)
    ),
    "OpenVINO bfloat16, any batch": Variant(
        _OPENVINO,
        {"name": "float32", "precision": "bf16", "fixed": False},
        "float32.xml",
        ("openvino", *_EXPORT),
    ),
    "OpenVINO int8 weights, float32": Variant(
        _OPENVINO,
        {"name": "int8-weights", "precision": "f32"},
        "int8-weights.xml",
        ("openvino", "nncf", *_EXPORT),
    ),
    "OpenVINO int8 weights, bfloat16": Variant(
        _OPENVINO,
        {"name": "int8-weights", "precision": "bf16"},
        "int8-weights.xml",
        ("openvino", "nncf", *_EXPORT),
    ),
    "OpenVINO int8 calibrated, bfloat16": Variant(
        _OPENVINO,
        {"name": "int8", "precision": "bf16"},
        "int8.xml",
        ("openvino", "nncf", *_EXPORT),
    ),
}
