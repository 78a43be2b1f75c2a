"""Loading takes no more memory than the text weights plus a fifth (measured in a new process)."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.parity.random_checkpoints import NANO, build_checkpoint

MEASURE = """
import json, re, sys, torch
from pathlib import Path
from kalm_reranker.checkpoints import resolve_checkpoint
from kalm_reranker.model.config import ModelConfig
from kalm_reranker.model.weights import load_model

def status(key):
    return int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

checkpoint = resolve_checkpoint(sys.argv[1])
config = ModelConfig.from_dict(json.loads(checkpoint.config_path.read_text()))
torch.zeros(10).to(torch.bfloat16).to(torch.float32).clone()  # start PyTorch's own machinery
Path("/proc/self/clear_refs").write_text("5")  # resets the peak
before = status("VmRSS")
dtype = getattr(torch, sys.argv[2])
model = load_model(config, checkpoint.weight_files, dtype=dtype, device=torch.device("cpu"))
weights = sum(p.numel() * p.element_size() for p in model.parameters())
print(status("VmHWM") - before, weights)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_nano_loads_within_its_text_weights_plus_a_fifth(tmp_path):
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
    checkpoint = build_checkpoint(tmp_path / "nano", vision=vision, dtype=torch.bfloat16, **NANO)
    for dtype in ("bfloat16", "float32"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(checkpoint), dtype],
            capture_output=True,
            text=True,
            check=True,
        )
        peak, weights = map(int, done.stdout.split())
        assert weights > 700e6
        assert peak <= 1.2 * weights, f"{dtype}: {peak:,} bytes at most for {weights:,}"
