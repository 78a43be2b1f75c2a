"""`kalm eval` as a process of its own, whose output another one reads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("bm25s")
pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("scipy")

KALM = Path(sys.executable).with_name("kalm")


def test_json_goes_to_stdout_and_all_else_to_stderr(tmp_path):
    command = [str(KALM), "eval", "demo", "--model", "none", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "kalm-eval" / "results.json").read_text())
    assert document["settings"]["command"] == "kalm eval demo --model none --json"
    (found,) = document["measurements"]
    assert found["ranker"] == "BM25"
    assert 0.5 < found["measures"]["nDCG@10"] < 1
    assert done.stderr == f"written: {Path('kalm-eval', 'report.html')}\n"
