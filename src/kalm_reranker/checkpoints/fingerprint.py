"""What a model is, as one short text: passage states made by another one must not be scored."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from kalm_reranker.checkpoints.checkpoint import Checkpoint
from kalm_reranker.checkpoints.file_hash import content_hash, file_identity
from kalm_reranker.checkpoints.json_file import read_json_object
from kalm_reranker.errors import InvalidCheckpointError

# Raise it whenever the hashed document changes: fingerprints in existing stores then differ.
_FORMAT = 1
_HEX_CHARACTERS = 32  # 128 bits: no accident makes two models equal, and it fits on a line

# What Transformers writes into every section and no computation depends on. A list of what is
# ignored, rather than of what counts: a key nobody thought of then changes the fingerprint.
_IGNORED_KEYS = frozenset(
    {
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "chunk_size_feed_forward",
        "classifier_dropout_rate",
        "dropout_rate",
        "dtype",
        "id2label",
        "initializer_range",
        "is_encoder_decoder",
        "label2id",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "problem_type",
        "return_dict",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)


def checkpoint_identity(checkpoint: Checkpoint) -> list[list[int]]:
    """Returns what changes when a file of the checkpoint is replaced; cheap, reads no content.

    The change time is left out: new links or permissions do not make another model.

    Raises:
        InvalidCheckpointError: A file is gone.
    """
    paths = (checkpoint.config_path, checkpoint.tokenizer_path, *checkpoint.weight_files)
    try:
        return [file_identity(path)[:-1] for path in paths]
    except OSError as error:
        raise _unreadable(checkpoint, error) from error


def model_fingerprint(checkpoint: Checkpoint) -> str:
    """Returns 32 hex characters that identify the model by content.

    Covered are the encoder's text config, the decoder config, the end-of-image token, and the
    content of tokenizer and weights. Not covered: file names and place, the vision tower's
    config, and the settings file, whose prompt and lengths are recorded beside the states
    themselves. The same tensors saved again (other shards, other dtype, config keys of another
    Transformers release) count as another model.

    Cost: the first call reads all weights (pico: 22 ms; about 0.7 s per GB); later calls take the
    hashes from the user's cache and cost 1 ms.

    Raises:
        InvalidCheckpointError: A file of the checkpoint cannot be read any more.
    """
    try:
        document = {
            "format": _FORMAT,
            "config": _model_config(read_json_object(checkpoint.config_path)),
            "tokenizer": content_hash(checkpoint.tokenizer_path),
            "weights": [content_hash(path) for path in checkpoint.weight_files],
        }
    except OSError as error:
        raise _unreadable(checkpoint, error) from error
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:_HEX_CHARACTERS]


def _unreadable(checkpoint: Checkpoint, error: OSError) -> InvalidCheckpointError:
    return InvalidCheckpointError(
        f"{error.filename or checkpoint.directory} cannot be read: {error.strerror or error}."
    )


def _model_config(config: Mapping[str, Any]) -> dict[str, Any]:
    encoder = config.get("encoder")
    encoder = encoder if isinstance(encoder, dict) else {}
    # The encoder's own value wins, as in Transformers.
    eoi_token_index = encoder.get("eoi_token_index", config.get("eoi_token_index"))
    return {
        "encoder": _without_ignored(encoder.get("text_config")),
        "decoder": _without_ignored(config.get("decoder")),
        "eoi_token_index": eoi_token_index,
    }


def _without_ignored(section: object) -> object:
    if not isinstance(section, dict):
        return section
    return {key: value for key, value in section.items() if key not in _IGNORED_KEYS}
