"""Reads a checkpoint's safetensors into a `RerankerModel`: the only place that knows tensor names.

Two name families occur on disk for the encoder's text part: `model.encoder.{layers,...}` (what
Transformers 5.23 saves) and `model.encoder.text_model.{layers,...}` (its in-memory names). The
decoder's embeddings and the output head are tied to the encoder's table and may be absent.

Memory: tensors are converted one by one, the largest first, mapped pages are dropped on the way,
and the vision tower is never touched, so that the peak stays close to the text weights in the
wanted dtype.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from kalm_reranker.errors import InvalidCheckpointError
from kalm_reranker.model.config import ModelConfig
from kalm_reranker.model.reranker_model import RerankerModel

_IGNORED_PREFIXES = ("model.encoder.vision_tower.", "model.encoder.multi_modal_projector.")
_TEXT_MODEL = "model.encoder.text_model."
_EMBEDDING = "model.encoder.embed_tokens.weight"
_TIED = {
    "lm_head.out_proj.weight": _EMBEDDING,
    "lm_head.weight": _EMBEDDING,
    "model.decoder.embed_tokens.weight": _EMBEDDING,
    "model.decoder.embed_tokens.eoi_embedding": "model.encoder.embed_tokens.eoi_embedding",
}
_DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # safetensors name -> bytes
_NAMES_SHOWN = 5
_MAPPED_BYTES = 64 * 2**20  # read from a mapping before it is dropped


@dataclass(frozen=True)
class _StoredTensor:
    path: Path
    name: str  # as in the file
    shape: tuple[int, ...]
    dtype: str

    @property
    def num_bytes(self) -> int:
        return int(torch.Size(self.shape).numel()) * _DTYPES.get(self.dtype, 1)


def load_model(
    config: ModelConfig,
    weight_files: Sequence[Path],
    *,
    dtype: torch.dtype,
    device: torch.device,
) -> RerankerModel:
    """Builds the model and fills it from safetensors files.

    Args:
        config: Sizes of the model.
        weight_files: One file, or all shards.
        dtype: Floating dtype to convert the weights to.
        device: Where the weights go, tensor by tensor.

    Returns:
        The model in evaluation mode, its parameters not requiring gradients.

    Raises:
        InvalidCheckpointError: A file is damaged or truncated, or a tensor is missing,
            unexpected, of the wrong shape or no floating tensor; the message names it.
    """
    stored = _index_tensors(weight_files)
    with torch.device("meta"):
        model = RerankerModel(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    _check_tensors(stored, expected)
    state: dict[str, torch.Tensor] = {}
    with closing(_Reader(dtype, device)) as reader:
        for name in sorted(expected, key=lambda name: -stored[name].num_bytes):
            state[name] = reader.read(stored[name])
    model.load_state_dict(state, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def _index_tensors(weight_files: Sequence[Path]) -> dict[str, _StoredTensor]:
    """Maps our parameter names to tensors on disk; vision tensors are left out."""
    stored: dict[str, _StoredTensor] = {}
    tied: dict[str, _StoredTensor] = {}
    for path in weight_files:
        with _open(path) as file:
            for name in file.keys():
                if name.startswith(_IGNORED_PREFIXES):
                    continue
                view = file.get_slice(name)
                tensor = _StoredTensor(path, name, tuple(view.get_shape()), view.get_dtype())
                ours = _TIED.get(name, name.replace(_TEXT_MODEL, "model.encoder.", 1))
                group = tied if name in _TIED else stored
                if ours in group and name not in _TIED:
                    raise InvalidCheckpointError(
                        f"Tensor {name!r} in {path} stands for the same parameter as "
                        f"{group[ours].name!r} in {group[ours].path}."
                    )
                group[ours] = tensor
    # Tied copies count only where the table itself is absent.
    return tied | stored


def _check_tensors(stored: dict[str, _StoredTensor], expected: dict[str, tuple[int, ...]]) -> None:
    missing = sorted(expected.keys() - stored.keys())
    if missing:
        raise InvalidCheckpointError(
            f"The checkpoint lacks {len(missing)} tensors that config.json asks for: "
            f"{_some(missing)}.",
            hint="Download the checkpoint again, or check that config.json belongs to it.",
        )
    unexpected = sorted(stored[name].name for name in stored.keys() - expected.keys())
    if unexpected:
        raise InvalidCheckpointError(
            f"The checkpoint holds {len(unexpected)} tensors that a T5Gemma2 reranker of this "
            f"config.json does not have: {_some(unexpected)}.",
            hint="Merge adapters into the weights first; check that config.json belongs to them.",
        )
    for name, shape in expected.items():
        tensor = stored[name]
        if tensor.shape != shape:
            raise InvalidCheckpointError(
                f"Tensor {tensor.name!r} in {tensor.path} has shape {list(tensor.shape)}; "
                f"config.json asks for {list(shape)}."
            )
        if tensor.dtype not in _DTYPES:
            raise InvalidCheckpointError(
                f"Tensor {tensor.name!r} in {tensor.path} has dtype {tensor.dtype}; "
                f"allowed are {', '.join(_DTYPES)}.",
                hint="Use the unquantised checkpoint.",
            )


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return shown if more <= 0 else f"{shown} and {more} more"


class _Reader:
    """Reads tensors, unmapping a file again once enough of it has been paged in.

    Pages that were read stay resident as long as the file is mapped and would double the memory
    that loading takes; opening anew for every tensor would cost more time than reading them.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype = dtype
        self._device = device
        self._open_files: dict[Path, safe_open] = {}
        self._mapped_bytes = 0

    def read(self, tensor: _StoredTensor) -> torch.Tensor:
        if tensor.path not in self._open_files:
            self._open_files[tensor.path] = _open(tensor.path)
        file = self._open_files[tensor.path]
        mapped: torch.Tensor = file.get_tensor(tensor.name)  # type: ignore[no-untyped-call]
        # The copy is forced: a tensor that aliases the mapping would crash the process if the
        # file changed later.
        read = mapped.to(self._device, self._dtype, copy=True)
        del file, mapped
        self._mapped_bytes += tensor.num_bytes
        if self._mapped_bytes > _MAPPED_BYTES:
            self.close()
        return read

    def close(self) -> None:
        self._open_files.clear()  # the last reference to a mapping unmaps it
        self._mapped_bytes = 0


def _open(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise InvalidCheckpointError(
            f"{path} cannot be read as safetensors: {error}.",
            hint="The file is damaged or cut short; download it again.",
        ) from error
