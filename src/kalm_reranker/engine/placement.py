"""Where a model runs and in which dtype, when the caller does not say."""

from typing import NamedTuple

import torch

from kalm_reranker.errors import InvalidOptionError

_DTYPES = {
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
    "float32": torch.float32,
    "fp32": torch.float32,
}


class ChosenDtype(NamedTuple):
    """A dtype and why it was chosen, for `repr` and logs."""

    dtype: torch.dtype
    reason: str


def dtype_name(dtype: torch.dtype) -> str:
    """Returns "bfloat16" for torch.bfloat16 and so on."""
    return str(dtype).removeprefix("torch.")


def choose_device(device: str | torch.device | None) -> torch.device:
    """Returns the device asked for, or CUDA where there is one, else the CPU.

    Raises:
        InvalidOptionError: No such device, or CUDA is asked for and cannot be used.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InvalidOptionError(
            f"device must be a PyTorch device such as 'cpu', 'cuda' or 'cuda:0'; got {device!r}."
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InvalidOptionError(
            f"device {str(chosen)!r} cannot be used: this PyTorch finds no CUDA device.",
            hint="Use device='cpu', or install a CUDA build of PyTorch and check nvidia-smi.",
        )
    try:
        held = torch.zeros(1, device=chosen)
        usable = not held.is_meta
    except Exception as error:  # which one depends on the device's backend
        raise InvalidOptionError(
            f"device {str(chosen)!r} cannot be used on this machine: {error}"
        ) from error
    if not usable:
        raise InvalidOptionError(f"device {str(chosen)!r} computes nothing.")
    return chosen


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> ChosenDtype:
    """Returns the dtype asked for, or the fastest one that keeps the exactness contract.

    That is bfloat16 on CUDA, and on CPUs whose processor multiplies bfloat16 natively (AMX or
    AVX-512 BF16; benchmarks/precision.py measures what that is worth); float32 elsewhere. The
    reference takes float32 on every CPU; `dtype="float32"` does the same here.

    Raises:
        InvalidOptionError: A name or dtype that is not supported.
    """
    if dtype is not None:
        chosen = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
        if chosen not in _DTYPES.values():
            raise InvalidOptionError(
                f"dtype must be one of {', '.join(map(repr, _DTYPES))}; got {dtype!r}."
            )
        assert chosen is not None  # None is not among the values
        return ChosenDtype(chosen, "asked for")
    if device.type == "cuda":
        return ChosenDtype(torch.bfloat16, "the default on CUDA")
    if device.type == "cpu":
        instructions = _bfloat16_instructions()
        if instructions:
            return ChosenDtype(torch.bfloat16, f"the processor has {instructions}")
        return ChosenDtype(torch.float32, "the processor has no bfloat16 matrix instructions")
    return ChosenDtype(torch.float32, f"the default on {device.type}")


def _bfloat16_instructions() -> str | None:
    """Names the processor's bfloat16 matrix instructions; None where PyTorch reports none."""
    # PyTorch has no public query for these; a release that drops one only costs the speed-up.
    for probe, name in (
        ("_is_amx_tile_supported", "AMX"),
        ("_is_avx512_bf16_supported", "AVX-512 BF16"),
    ):
        supported = getattr(torch.cpu, probe, None)
        if supported is not None and supported():
            return name
    return None


def default_token_budget(device: torch.device) -> int:
    """Returns how many tokens, padding included, a forward pass should hold at most.

    On a CPU a batch should stay near the cache; a GPU wants enough rows to be full.
    """
    return 4_096 if device.type == "cpu" else 65_536


def default_prefix_cache_bytes(device: torch.device) -> int:
    """Returns how much memory keys and values of passages may take: 1 GiB, or a quarter of a GPU's.

    Nano's take 3.5 MB a passage of 512 tokens at ratio 4.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 4
    return 2**30
