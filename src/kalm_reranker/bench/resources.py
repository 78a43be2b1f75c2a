"""How much memory and disk a benchmark takes, asked before anything large is made."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.model.config import ModelConfig
from kalm_reranker.model.reranker_model import RerankerModel

_BESIDES_BYTES = 10**9  # libraries, activations, texts
_SPARE = 1.1


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """How many parameters a model has.

    Args:
        encoder: Of the encoder's layers.
        decoder: Of the decoder's layers.
        embedding: Of the one table that both share.
    """

    encoder: int
    decoder: int
    embedding: int

    @classmethod
    def of(cls, config: ModelConfig) -> "Parameters":
        """Counts them without making any."""
        with torch.device("meta"):
            model = RerankerModel(config)
        sizes = {name: math.prod(tensor.shape) for name, tensor in model.state_dict().items()}
        embedding = sum(size for name, size in sizes.items() if "embed_tokens" in name)
        decoder = sum(size for name, size in sizes.items() if name.startswith("model.decoder."))
        return cls(
            encoder=sum(sizes.values()) - embedding - decoder, decoder=decoder, embedding=embedding
        )

    @property
    def total(self) -> int:
        """All of them."""
        return self.encoder + self.decoder + self.embedding


def check_disk(num_bytes: int, folder: Path) -> None:
    """Refuses to write what does not fit.

    Raises:
        InvalidOptionError: It does not.
    """
    free = shutil.disk_usage(folder).free
    if num_bytes * _SPARE > free:
        raise InvalidOptionError(
            f"The random weights take {gigabytes(num_bytes)} in {folder}; {gigabytes(free)} is "
            "free there.",
            hint="Choose a smaller shape, or set TMPDIR to a folder with more room.",
        )


def check_memory(needs: dict[str, int], device: torch.device) -> None:
    """Refuses to load what does not fit.

    Args:
        needs: Bytes, by what takes them.
        device: Where they are taken.

    Raises:
        InvalidOptionError: It does not.
    """
    available = available_bytes(device)
    total = sum(needs.values()) + _BESIDES_BYTES
    if available is None or total <= available:
        return
    parts = ", ".join(f"{what} {gigabytes(size)}" for what, size in needs.items())
    raise InvalidOptionError(
        f"The paths together need about {gigabytes(total)} of memory ({parts}); "
        f"{gigabytes(available)} is free on {device}.",
        hint="Measure fewer --paths, fewer --candidates, or a smaller model, length or dtype.",
    )


def available_bytes(device: torch.device) -> int | None:
    """Returns the free memory of a device; None where nothing tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    info = Path("/proc/meminfo")
    if not info.is_file():
        return None
    for line in info.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def gigabytes(num_bytes: float) -> str:
    """Returns a size as people read it."""
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:.1f} GB"
