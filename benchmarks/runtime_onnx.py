"""The decoder step in ONNX Runtime and in OpenVINO, without torch in the process.

Every builder takes a problem's folder and gives a step: query number -> logits [B, 2] float32.
"""

import importlib
import os
from pathlib import Path

import numpy as np
from runtime_inputs import Inputs, Step


def onnxruntime_session(folder: Path, name: str) -> Step:
    """Builds a session of ONNX Runtime's CPU provider from `<name>.onnx`."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    options.inter_op_num_threads = 1
    # Other runtimes take turns with this one: its threads must not spin while they run.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = folder / f"{name}-onnx" / f"{name}.onnx"
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = Inputs.load(folder)

    def step(query: int) -> np.ndarray:
        feed = {"prompt": inputs.prompts[query], "states": inputs.states[query]}
        return inputs.logits(session.run(["hidden"], feed)[0])

    return step


def openvino_model(folder: Path, name: str, precision: str, *, fixed: bool = True) -> Step:
    """Builds a model of OpenVINO's CPU device from `<name>.xml`.

    Args:
        folder: The problem.
        name: Of the file.
        precision: What OpenVINO may compute in: "f32" or "bf16".
        fixed: Whether it is told the number of candidates, or leaves it open.
    """
    openvino = importlib.import_module("openvino")
    core = openvino.Core()
    model = core.read_model(folder / f"{name}-xml" / f"{name}.xml")
    inputs = Inputs.load(folder)
    if fixed:
        model.reshape(
            {"prompt": list(inputs.prompts.shape[1:]), "states": list(inputs.states.shape[1:])}
        )
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": os.environ["OMP_NUM_THREADS"],
            "INFERENCE_PRECISION_HINT": precision,
            # Inputs of compressed layers that share a scale, so that int8 is multiplied by int8.
            # 0, or the largest integer for whole rows, leaves it off; 32 is slower than 128.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128",
        },
    )
    request = compiled.create_infer_request()

    def step(query: int) -> np.ndarray:
        results = request.infer({"prompt": inputs.prompts[query], "states": inputs.states[query]})
        return inputs.logits(results["hidden"])

    return step
