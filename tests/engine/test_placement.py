import pytest
import torch

from kalm_reranker.engine import placement
from kalm_reranker.engine.placement import choose_device, choose_dtype
from kalm_reranker.errors import InvalidOptionError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("bfloat16", torch.bfloat16),
        ("bf16", torch.bfloat16),
        ("float16", torch.float16),
        ("fp16", torch.float16),
        ("float32", torch.float32),
        ("fp32", torch.float32),
        (torch.float16, torch.float16),
    ],
)
def test_dtypes_by_name(name, dtype):
    assert choose_dtype(name, CPU) == (dtype, "asked for")


@pytest.mark.parametrize("dtype", ["int8", "float", torch.int64, 16])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(InvalidOptionError, match=r"dtype must be one of 'bfloat16'.*; got"):
        choose_dtype(dtype, CPU)


def test_cuda_takes_bfloat16():
    assert choose_dtype(None, CUDA) == (torch.bfloat16, "the default on CUDA")


@pytest.mark.parametrize(
    ("amx", "avx", "dtype", "reason"),
    [
        (True, True, torch.bfloat16, "the processor has AMX"),
        (False, True, torch.bfloat16, "the processor has AVX-512 BF16"),
        (False, False, torch.float32, "the processor has no bfloat16 matrix instructions"),
    ],
)
def test_cpus_follow_their_instructions(monkeypatch, amx, avx, dtype, reason):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx, raising=False)
    assert choose_dtype(None, CPU) == (dtype, reason)


def test_a_pytorch_without_the_probes_means_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert placement._bfloat16_instructions() is None


@pytest.mark.parametrize("device", ["meta", "xpu", "hpu", "vulkan", "cpu:99", "cuda:99"])
def test_devices_that_are_not_here_are_refused(device):
    if torch.device(device).type == "cpu":
        assert choose_device(device).type == "cpu"  # PyTorch has one CPU, whatever its number
        return
    with pytest.raises(InvalidOptionError, match="device"):
        choose_device(device)


def test_devices():
    assert choose_device("cpu") == CPU
    assert choose_device(CPU) == CPU
    with pytest.raises(InvalidOptionError, match=r"device must be a PyTorch device .* got 'gpu'"):
        choose_device("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_where_there_is_none_is_refused():
    with pytest.raises(InvalidOptionError, match="finds no CUDA device"):
        choose_device("cuda:0")
    assert choose_device(None) == CPU
