"""Files that runtimes other than PyTorch load: ONNX, and OpenVINO's own format.

    python benchmarks/runtime_export.py FOLDER FILE

FILE is one of `EXPORTS`. Making them takes memory and packages that running them does not, so each
is made by a process of its own.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from runtime_inputs import Inputs
from runtime_step import load_step

_CALIBRATION_PAIRS = 8  # of each query; its first candidates


def export_onnx(folder: Path, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes the step as ONNX, for any number of candidates."""
    inputs = Inputs.load(folder)
    prompt = torch.from_numpy(inputs.prompts[0]).to(dtype)
    states = torch.from_numpy(inputs.states[0]).to(dtype)
    module = load_step(folder, dtype)
    torch.onnx.export(
        module,
        (prompt, states),
        path,
        input_names=["prompt", "states"],
        output_names=["hidden"],
        dynamic_shapes={"prompt": None, "states": {0: torch.export.Dim.DYNAMIC}},
        dynamo=True,
        external_data=True,
    )


def export_onnx_bfloat16(folder: Path, path: Path) -> None:
    """Writes the step as ONNX with bfloat16 weights and products."""
    export_onnx(folder, path, torch.bfloat16)


def quantize_onnx(folder: Path, path: Path) -> None:
    """Writes int8 matrix products: a scale per output channel, inputs quantized as they come."""
    onnx = importlib.import_module("onnx")
    quantization = importlib.import_module("onnxruntime.quantization")
    model = onnx.load(_made(folder, "float32.onnx"))
    # The exporter leaves shapes of weights that it has transposed since; the quantizer finds out.
    del model.graph.value_info[:]
    quantization.quantize_dynamic(
        model,
        path,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
        use_external_data_format=True,
        extra_options={"MatMulConstBOnly": True},
    )


def quantize_onnx_blocks(folder: Path, path: Path) -> None:
    """Writes 8-bit weights in blocks of 32 (MatMulNBits), computed in int8 (accuracy level 4)."""
    onnx = importlib.import_module("onnx")
    blocks = importlib.import_module("onnxruntime.quantization.matmul_nbits_quantizer")
    config = blocks.DefaultWeightOnlyQuantConfig(
        block_size=32, is_symmetric=True, accuracy_level=4, bits=8
    )
    model = onnx.load(_made(folder, "float32.onnx"))
    quantizer = blocks.MatMulNBitsQuantizer(model, algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(str(path), use_external_data_format=True)


def export_openvino(folder: Path, path: Path) -> None:
    """Writes OpenVINO's format with float32 weights."""
    _save_openvino(_openvino_model(folder), path)


def compress_openvino(folder: Path, path: Path) -> None:
    """Writes OpenVINO's format with int8 weights, a scale per output channel."""
    nncf = importlib.import_module("nncf")
    model = nncf.compress_weights(_openvino_model(folder), mode=nncf.CompressWeightsMode.INT8_SYM)
    _save_openvino(model, path)


def quantize_openvino(folder: Path, path: Path) -> None:
    """Writes OpenVINO's format with int8 products whose input scales are fixed by calibration.

    The calibration sees some of the pairs that errors are told of, so these flatter it.
    """
    nncf = importlib.import_module("nncf")
    inputs = Inputs.load(folder)
    samples = [
        (prompt, candidates[:_CALIBRATION_PAIRS])
        for prompt, candidates in zip(inputs.prompts, inputs.states, strict=True)
    ]
    model = nncf.quantize(
        _openvino_model(folder),
        nncf.Dataset(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(samples),
    )
    _save_openvino(model, path)


def _openvino_model(folder: Path) -> Any:
    return importlib.import_module("openvino").convert_model(_made(folder, "float32.onnx"))


def _save_openvino(model: Any, path: Path) -> None:
    importlib.import_module("openvino").save_model(model, path, compress_to_fp16=False)


EXPORTS: dict[str, Callable[[Path, Path], None]] = {
    "float32.onnx": export_onnx,
    "bfloat16.onnx": export_onnx_bfloat16,
    "int8.onnx": quantize_onnx,
    "int8-blocks.onnx": quantize_onnx_blocks,
    "float32.xml": export_openvino,
    "int8-weights.xml": compress_openvino,
    "int8.xml": quantize_openvino,
}


def _made(folder: Path, name: str) -> Path:
    """Returns the file, which is made if it is not there."""
    path = folder / name.replace(".", "-") / name  # weights lie beside it, under names of their own
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        EXPORTS[name](folder, path)
    return path


if __name__ == "__main__":
    _made(Path(sys.argv[1]), sys.argv[2])
