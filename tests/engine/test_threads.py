"""The number of threads follows the cores that the process may use."""

import os
import subprocess
import sys

import pytest
import torch

from kalm_reranker.engine.threads import choose_threads, usable_cores
from kalm_reranker.errors import InvalidOptionError


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "broken"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "5\n", "cpu/cpu.cfs_period_us": "0\n"}, 8),
        ({}, 8),
    ],
)
def test_quotas_of_containers_count(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    assert usable_cores(tmp_path) == expected


def test_more_threads_than_cores_are_cut_and_fewer_are_kept(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    chosen = choose_threads(None)
    assert chosen.number <= 2
    assert "this process may use" in chosen.reason
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert choose_threads(None) == (1, "PyTorch's own")


def test_what_the_caller_says_counts(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert choose_threads(None) == (64, "set by OMP_NUM_THREADS")
    assert choose_threads(3) == (3, "asked for")
    for wrong in (0, 10**12):
        with pytest.raises(InvalidOptionError, match=f"from 1 to 4096; got {wrong}"):
            choose_threads(wrong)


UNSET = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


def test_a_process_with_one_core_computes_with_one_thread():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "import torch; torch.set_num_threads(4);"
        "from kalm_reranker import KaLMReranker; r = KaLMReranker('pico');"
        "print(torch.get_num_threads(), os.environ['RAYON_NUM_THREADS'], repr(r))"
    )
    env = {k: v for k, v in os.environ.items() if k not in UNSET}
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no processor affinity")
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("1 1 ")
    assert "threads=1 (this process may use 1 of" in done.stdout
