"""The files of a sentence-transformers model: on the hub, and which of them make its vectors."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from kalm_reranker.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointUnavailableError,
    InvalidCheckpointError,
)

_HUB_ID = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]*/[A-Za-z0-9]([\w.-]*\w)?", re.ASCII)
# What no part of it is read from: other formats of the weights, and pictures.
_UNREAD = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.gguf", "*.png")
_PICKLES = ("*.bin", "*.pt", "*.pth")

_MODULES_FILE = "modules.json"
# Files beside the weights that vectors depend on; the first group of tokenizer files that is
# there is the one that is read.
_CONFIG_FILES = (
    _MODULES_FILE,
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "config.json",
    "tokenizer_config.json",
)
_TOKENIZER_FILES = (
    ("tokenizer.json",),
    ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model"),
    ("vocab.txt", "vocab.json", "merges.txt"),
)
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_HEX_CHARACTERS = 32  # as in the rerankers' fingerprints


def is_hub_id(text: str) -> bool:
    """Returns whether a text is "organisation/name" as the hub spells it."""
    return _HUB_ID.fullmatch(text) is not None


def files_fingerprint(folder: Path, files: Iterable[str], *, model: str, kind: str = "") -> str:
    """Returns a hash of the names and contents of files, cached by file identity.

    Args:
        folder: Where they are.
        files: Their names in it, in a fixed order.
        model: What messages call them.
        kind: What tells this use of them from others.

    Raises:
        InvalidCheckpointError: A file cannot be read.
    """
    from kalm_reranker.checkpoints.file_hash import content_hash

    digest = hashlib.sha256(kind.encode())
    try:
        for name in files:
            digest.update(f"\n{name} {content_hash(folder / name)}".encode())
    except OSError as error:
        raise InvalidCheckpointError(
            f"{model} cannot be read: {error.filename}: {error.strerror}."
        ) from error
    return digest.hexdigest()[:_HEX_CHARACTERS]


def model_files(folder: Path) -> list[str]:
    """Returns the names of the files that a model's vectors depend on, in a fixed order.

    Named, rather than all that is there: a hub's cache also holds what some other program, or
    another release of a library, fetched.

    Raises:
        InvalidCheckpointError: There are no weights, or `modules.json` cannot be read.
    """
    found: list[str] = []
    for part in _module_folders(folder):
        names = [name for name in _CONFIG_FILES if (part / name).is_file()]
        for group in _TOKENIZER_FILES:
            tokenizer = [name for name in group if (part / name).is_file()]
            if tokenizer:
                names += tokenizer
                break
        for pattern in _WEIGHTS:
            weights = sorted(path.name for path in part.glob(pattern))
            if weights:
                names += weights
                break
        found += [(part / name).relative_to(folder).as_posix() for name in names]
    if not any(name.endswith((".safetensors", ".bin")) for name in found):
        raise InvalidCheckpointError(
            f"{folder} holds no weights of a sentence-transformers model (model.safetensors).",
            hint="Give the directory that SentenceTransformer.save wrote, or a hub id.",
        )
    return found


def hub_snapshot(hub_id: str) -> Path:
    """Returns the directory of a model of the hub, downloading what the cache lacks.

    Raises:
        CheckpointNotFoundError: There is no such repository, or no access to it.
        CheckpointUnavailableError: The hub cannot be reached, and the cache lacks it.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(hub_id, ignore_patterns=[*_UNREAD, *_PICKLES]))
        if not any(folder.rglob("*.safetensors")):
            folder = Path(snapshot_download(hub_id, ignore_patterns=[*_UNREAD]))
    except Exception as error:  # the hub library's errors have no common base
        raise _hub_error(error, hub_id) from error
    return folder


def _module_folders(folder: Path) -> list[Path]:
    """Returns the folder and those of the modules that a model is made of."""
    try:
        modules = json.loads((folder / _MODULES_FILE).read_bytes())
        if not isinstance(modules, list):
            raise TypeError(f"expected a list, got {type(modules).__name__}")
        names = {module["path"] for module in modules} - {""}
        inside = [folder / name for name in sorted(names)]
    except FileNotFoundError:  # a plain encoder: its vectors are pooled by default
        return [folder]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidCheckpointError(
            f"{folder / _MODULES_FILE} is not the list of a sentence-transformers model's modules: "
            f"{error!r}.",
            hint="The file is damaged or was not downloaded completely; fetch it again.",
        ) from error
    if not all(path.resolve().is_relative_to(folder.resolve()) for path in inside):
        raise InvalidCheckpointError(f"{folder / _MODULES_FILE} names folders outside the model's.")
    return [folder, *inside]


def _hub_error(error: Exception, hub_id: str) -> CheckpointError:
    from huggingface_hub import errors as hub

    from kalm_reranker.checkpoints.hub_errors import describe

    if isinstance(error, hub.RepositoryNotFoundError):  # gated ones too
        return CheckpointNotFoundError(
            f"The hub has no model repository {hub_id!r}, or this account may not see it.",
            hint="Check the spelling; for a private or gated one log in with `hf auth login`.",
        )
    return CheckpointUnavailableError(
        f"The dense model {hub_id} is not in the cache, and could not be fetched: "
        f"{describe(error)}.",
        hint=f"Where there is a connection, run `hf download {hub_id} --local-dir DIRECTORY`, "
        "bring that directory here and pass its path.",
    )
