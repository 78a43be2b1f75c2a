"""A checkpoint on disk: its files, checked to be there, and its settings."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kalm_reranker.checkpoints.json_file import read_json_object, refuse_lfs_pointer
from kalm_reranker.checkpoints.settings import RerankerSettings, read_settings
from kalm_reranker.errors import InvalidCheckpointError, shown

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_FILE = "model.safetensors"
WEIGHTS_INDEX_FILE = "model.safetensors.index.json"
_PICKLE_GLOB = "pytorch_model*.bin*"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The files of one model. Holding one means that every file was found.

    Args:
        name: What to call it: a short name, a hub id or the directory's name.
        source: Where it came from.
        directory: The directory that holds all of its files.
        config_path: `config.json`.
        tokenizer_path: `tokenizer.json`.
        weight_files: The safetensors files, sorted by name.
        settings: Prompt, lengths and ratios.
        revision: Commit on the hub; None for other sources.
    """

    name: str
    source: Literal["bundled", "local", "hub"]
    directory: Path
    config_path: Path
    tokenizer_path: Path
    weight_files: tuple[Path, ...]
    settings: RerankerSettings
    revision: str | None = None


def checkpoint_from_directory(
    directory: Path,
    *,
    name: str,
    source: Literal["bundled", "local", "hub"],
    revision: str | None = None,
    defaults: RerankerSettings | None = None,
) -> Checkpoint:
    """Returns the checkpoint in a directory.

    Args:
        directory: An existing directory. Its files may be links (the hub's cache is made of them).
        name: See `Checkpoint`.
        source: See `Checkpoint`.
        revision: See `Checkpoint`.
        defaults: Settings where the checkpoint's own file says nothing.

    Raises:
        InvalidCheckpointError: Files are missing (all of them are named) or damaged, or the
            weights are there in a format that is not read.
    """
    try:
        os.listdir(directory)
        os.stat(directory / CONFIG_FILE)
    except FileNotFoundError:
        pass  # what is missing is named below
    except OSError as error:
        raise InvalidCheckpointError(
            f"{directory} cannot be read: {error.strerror or error}.",
            hint="Check the permissions of the directory.",
        ) from error
    missing = [file for file in (CONFIG_FILE, TOKENIZER_FILE) if not (directory / file).is_file()]
    weight_names = weight_file_names(directory)
    if not weight_names:
        if any(directory.glob(_PICKLE_GLOB)):
            raise _pickle_error(directory)
        missing.append(f"{WEIGHTS_FILE} (or {WEIGHTS_INDEX_FILE})")
    missing += [file for file in weight_names if not (directory / file).is_file()]
    if missing:
        raise InvalidCheckpointError(
            f"{directory} is no complete checkpoint; missing: {', '.join(missing)}.",
            hint="Give a directory that holds config.json, tokenizer.json and safetensors weights.",
        )
    checkpoint = Checkpoint(
        name=name,
        source=source,
        directory=directory,
        config_path=directory / CONFIG_FILE,
        tokenizer_path=directory / TOKENIZER_FILE,
        weight_files=tuple(directory / file for file in weight_names),
        settings=read_settings(directory, defaults=defaults),
        revision=revision,
    )
    for path in (checkpoint.tokenizer_path, *checkpoint.weight_files):
        refuse_lfs_pointer(path)
    read_json_object(checkpoint.config_path)
    return checkpoint


def weight_file_names(directory: Path) -> list[str]:
    """Returns the names of the weight files a directory should hold, sorted; empty where unknown.

    One file is preferred to shards where both are there, as Transformers does.

    Raises:
        InvalidCheckpointError: The index is damaged; see `shard_names`.
    """
    if (directory / WEIGHTS_FILE).is_file():
        return [WEIGHTS_FILE]
    index = directory / WEIGHTS_INDEX_FILE
    return shard_names(index) if index.is_file() else []


def shard_names(index_path: Path) -> list[str]:
    """Returns the file names an index of sharded weights lists, sorted.

    Raises:
        InvalidCheckpointError: The index is no JSON, has no usable `weight_map`, or lists anything
            but plain `.safetensors` file names. Paths are refused because an index comes from
            elsewhere and must not make this package read, or download to, another place.
    """
    weight_map = read_json_object(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InvalidCheckpointError(
            f"{index_path}: weight_map must be a non-empty object of tensor name to file name; "
            f"got {shown(weight_map)}."
        )
    for tensor, file in weight_map.items():
        if not _is_plain_name(file):
            raise InvalidCheckpointError(
                f"{index_path}: weight_map[{shown(tensor)}] must be the plain name of a "
                f".safetensors file in the same directory; got {shown(file)}."
            )
    return sorted(set(weight_map.values()))


def _is_plain_name(file: object) -> bool:
    return (
        isinstance(file, str)
        and file.endswith(".safetensors")
        # Backslash and colon separate on Windows, where the same index is read.
        and not any(char in file for char in "/\\:")
        and file.isprintable()
        and not file.startswith(".")
    )


def _pickle_error(directory: Path) -> InvalidCheckpointError:
    return InvalidCheckpointError(
        f"{directory} holds its weights only as pytorch_model*.bin; only safetensors are read, "
        "because loading a pickle can run any code.",
        hint=f"Convert the weights to {WEIGHTS_FILE} or take a release that has it.",
    )
