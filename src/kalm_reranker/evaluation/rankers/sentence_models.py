"""Models of sentence-transformers: from a name to a folder of the right kind, and loaded."""

import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeAlias

from kalm_reranker.errors import (
    CheckpointNotFoundError,
    InvalidCheckpointError,
    InvalidOptionError,
    MissingExtraError,
)
from kalm_reranker.extras import import_extra
from kalm_reranker.search.dense_files import (
    files_fingerprint,
    hub_snapshot,
    is_hub_id,
    model_files,
)
from kalm_reranker.search.dense_model import DENSE_MODELS

# Names of the library's classes, which saved models carry as `model_type`.
ModelClass: TypeAlias = Literal["CrossEncoder", "SentenceTransformer", "MultiVectorEncoder"]

_WORDS: dict[str, str] = {
    "CrossEncoder": "cross-encoder",
    "SentenceTransformer": "embedding",
    "MultiVectorEncoder": "late-interaction",
    "ColBERT": "late-interaction",  # as PyLate saves it
}
# Heads that a checkpoint without modules.json must bring: others would be made of random numbers.
_HEADS: dict[ModelClass, tuple[str, ...]] = {
    "CrossEncoder": ("ForSequenceClassification", "ForCausalLM", "ForConditionalGeneration"),
    "MultiVectorEncoder": ("HF_ColBERT", "ForRetrieval"),
    "SentenceTransformer": ("",),  # pooling has no weights
}
# Files that scores depend on besides those of `model_files`.
_MORE_FILES = ("chat_template.jinja", "artifact.metadata", "special_tokens_map.json")


@dataclass(frozen=True, kw_only=True)
class LocatedModel:
    """A model whose files are on this machine.

    Attributes:
        name: As it was given: a short name, a directory or a hub id.
        folder: Its files.
        model_class: What it is loaded as.
        fingerprint: A hash of its configuration, tokenizer and weights.
        dtype: Of its weights, as its configuration says; the library computes in it.
    """

    name: str
    folder: Path
    model_class: ModelClass
    fingerprint: str
    dtype: str | None

    @property
    def label(self) -> str:
        """What tables call it: a directory's own name, else the name as given."""
        return self.folder.name if Path(self.name).expanduser().is_dir() else self.name

    def settings(self) -> dict[str, Any]:
        """Returns what is needed to have the same model again."""
        return {
            "fingerprint": self.fingerprint,
            "dtype": self.dtype,
            "sentence_transformers": library_version("sentence-transformers"),
            "transformers": library_version("transformers"),
        }


def locate_model(name: str, model_class: ModelClass) -> LocatedModel:
    """Returns a model's files, downloading what the cache lacks of a model of the hub.

    Raises:
        CheckpointNotFoundError: There is no such directory or repository.
        CheckpointUnavailableError: The hub cannot be reached, and the cache lacks it.
        InvalidCheckpointError: It is a model of another kind, or has no weights.
        InvalidOptionError: The name is empty.
        MissingExtraError: sentence-transformers is not installed.
    """
    _library_class(model_class)
    if not name:
        raise InvalidOptionError(
            f"A {_WORDS[model_class]} model must be a directory or a hub id; got {name!r}."
        )
    directory = Path(name).expanduser()
    if model_class == "SentenceTransformer" and name in DENSE_MODELS:
        folder = hub_snapshot(DENSE_MODELS[name])
    elif directory.is_dir():
        folder = directory.absolute()
    elif is_hub_id(name):
        folder = hub_snapshot(name)
    else:
        raise CheckpointNotFoundError(
            f"There is no {_WORDS[model_class]} model {name!r}: it is no directory and no hub id "
            "(organisation/name).",
            hint="Check the path, or write the hub id in full, as in "
            "cross-encoder/ms-marco-MiniLM-L6-v2.",
        )
    _check_kind(folder, name, model_class)
    config = _json_object(folder / "config.json")
    return LocatedModel(
        name=name,
        folder=folder,
        model_class=model_class,
        fingerprint=_fingerprint(folder, name),
        dtype=config.get("dtype", config.get("torch_dtype")),
    )


def load_model(located: LocatedModel, *, device: str | None, **options: object) -> Any:  # noqa: ANN401
    """Returns the loaded model, an instance of the library's class. Code it brings is never run.

    Args:
        located: Its files.
        device: As sentence-transformers knows them; None lets it choose.
        options: Further arguments of the class.

    Raises:
        InvalidCheckpointError: It cannot be loaded.
        MissingExtraError: The installed sentence-transformers does not have the class.
    """
    library_class = _library_class(located.model_class)
    try:
        return library_class(
            str(located.folder),
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            **options,
        )
    except Exception as error:  # whatever its many modules raise
        raise InvalidCheckpointError(
            f"{located.name} cannot be loaded as a {_WORDS[located.model_class]} model of "
            f"sentence-transformers: {' '.join(str(error).split()).rstrip('.')}.",
            hint="Models that bring code of their own are not run.",
        ) from error


def library_version(package: str) -> str | None:
    """Returns the version of an installed package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _library_class(name: ModelClass) -> Any:  # noqa: ANN401
    purpose = f"Scoring with a model of the kind {_WORDS[name]}"
    library = import_extra("sentence_transformers", extra="eval", purpose=purpose)
    found = getattr(library, name, None)
    if found is None:
        raise MissingExtraError(
            f"{purpose} needs sentence-transformers with the class {name}; the installed "
            f"{library_version('sentence-transformers')} has none, release 6.2 has it.",
            hint='pip install "sentence-transformers>=6.2"',
        )
    return found


def _check_kind(folder: Path, name: str, model_class: ModelClass) -> None:
    """Refuses models of another kind.

    The library would load most of them: with a head of random numbers, and so with scores that
    mean nothing.
    """
    config = _json_object(folder / "config.json")
    architecture = next(iter(config.get("architectures") or ()), "")
    saved = _json_object(folder / "config_sentence_transformers.json")
    found = saved.get("model_type")
    if found is None and (folder / "modules.json").is_file() and architecture != "HF_ColBERT":
        # Before the library wrote down what a model is, only these had modules.
        found = "ColBERT" if "query_prefix" in saved else "SentenceTransformer"
    if found is not None:
        if _WORDS.get(found) == _WORDS[model_class]:
            return
        word = _WORDS.get(found)
        raise InvalidCheckpointError(
            f"{name} is saved as {found}, which is no {_WORDS[model_class]} model.",
            hint=None if word is None else f"Give it as {word}:{name}.",
        )
    if not any(head in architecture for head in _HEADS[model_class]):
        raise InvalidCheckpointError(
            f"{name} holds weights of {architecture or 'no known architecture'}, which lack the "
            f"head of a {_WORDS[model_class]} model; it would be made of random numbers.",
            hint="Give a model that was trained for this.",
        )


def _json_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidCheckpointError(
            f"{path} cannot be read as JSON: {error}.",
            hint="The file is damaged or was not downloaded completely; fetch it again.",
        ) from error
    if not isinstance(found, dict):
        raise InvalidCheckpointError(f"{path} must hold a JSON object.")
    return found


def _fingerprint(folder: Path, name: str) -> str:
    more = [file for file in _MORE_FILES if (folder / file).is_file()]
    return files_fingerprint(folder, [*model_files(folder), *more], model=name)
