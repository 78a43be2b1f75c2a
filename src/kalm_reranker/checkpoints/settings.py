"""How a checkpoint wants to be asked: prompt, lengths and ratios (`reranker_config.json`)."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from kalm_reranker.checkpoints.json_file import read_json_object
from kalm_reranker.errors import InvalidCheckpointError
from kalm_reranker.prompts import (
    DEFAULT_INSTRUCTION,
    DEFAULT_SYSTEM_INSTRUCTION,
    TEMPLATE_VERSION,
)

SETTINGS_FILE = "reranker_config.json"


@dataclass(frozen=True, kw_only=True)
class CascadeSettings:
    """Two passes: a coarse ratio for every candidate, a fine ratio for the best of them.

    Args:
        coarse_ratio: Compression ratio of the first pass.
        fine_ratio: Ratio of the second pass; the coarse ratio is a multiple of it, so that
            states stored once serve both. None is whatever ratio the states are stored at.
        fine_count: How many candidates the second pass scores.

    Source: paper v3 (coarse 32 for 100 candidates, fine 2 for the best 20).
    """

    coarse_ratio: int
    fine_ratio: int | None
    fine_count: int


# Of the official models, which have no settings file.
OFFICIAL_CASCADE = CascadeSettings(coarse_ratio=32, fine_ratio=None, fine_count=20)


@dataclass(frozen=True, kw_only=True)
class RerankerSettings:
    """What a checkpoint was trained with. The defaults are those of the official models.

    Args:
        template_version: Version of the prompt template (`prompts.TEMPLATE_VERSION`).
        system_instruction: First part of the decoder text.
        default_instruction: Task instruction where the caller gives none.
        max_length: Passage tokens read by the encoder; the rest is cut off.
        query_max_length: Query tokens kept in the prompt.
        trained_ratios: Compression ratios the model was trained at, ascending.
        default_ratio: Ratio where the caller gives none; None means no pooling.
        cascade: Two-pass settings, or None for one pass; what `PassageIndex` does by default.
        blend_with_first_stage: The model ranks best when its score is combined with the score
            of the first stage (true of small models).
    """

    template_version: int = TEMPLATE_VERSION
    system_instruction: str = DEFAULT_SYSTEM_INSTRUCTION
    default_instruction: str = DEFAULT_INSTRUCTION
    max_length: int = 1024
    query_max_length: int = 512
    trained_ratios: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    default_ratio: int | None = 4
    cascade: CascadeSettings | None = OFFICIAL_CASCADE
    blend_with_first_stage: bool = False


def read_settings(directory: Path, *, defaults: RerankerSettings | None = None) -> RerankerSettings:
    """Returns the settings of the checkpoint in a directory.

    Args:
        directory: The checkpoint's directory. Official checkpoints have no settings file, and
            then the defaults hold.
        defaults: Values of the keys that the file leaves out; None means the official ones.

    Raises:
        InvalidCheckpointError: An unknown key, a value of a wrong type or range, or another
            template version; names file, key, value and what is allowed.
    """
    defaults = defaults or RerankerSettings()
    path = directory / SETTINGS_FILE
    if not path.is_file():
        return defaults
    return _settings_from_json(read_json_object(path), path=path, defaults=defaults)


def _settings_from_json(
    values: Mapping[str, Any], *, path: Path, defaults: RerankerSettings
) -> RerankerSettings:
    read = _Reader(values, path=path, allowed=[field.name for field in fields(RerankerSettings)])
    # Not defaulted: a file that does not say its template cannot be trusted to match ours.
    template_version = read.positive_int("template_version")
    if template_version != TEMPLATE_VERSION:
        raise read.error("template_version", f"{TEMPLATE_VERSION}, the one this release knows")
    settings = replace(
        defaults,
        template_version=template_version,
        system_instruction=read.text("system_instruction", defaults.system_instruction),
        default_instruction=read.text("default_instruction", defaults.default_instruction),
        max_length=read.positive_int("max_length", defaults.max_length),
        query_max_length=read.positive_int("query_max_length", defaults.query_max_length),
        trained_ratios=read.ratios("trained_ratios", defaults.trained_ratios),
        default_ratio=read.optional_int("default_ratio", defaults.default_ratio),
        cascade=_cascade_from_json(read, defaults.cascade),
        blend_with_first_stage=read.flag("blend_with_first_stage", defaults.blend_with_first_stage),
    )
    ratios = settings.trained_ratios
    if settings.default_ratio is not None and settings.default_ratio not in ratios:
        raise InvalidCheckpointError(
            f"{path}: default_ratio must be null or one of trained_ratios {list(ratios)}; "
            f"got {settings.default_ratio}."
        )
    return settings


def _cascade_from_json(read: "_Reader", default: CascadeSettings | None) -> CascadeSettings | None:
    if not read.has("cascade"):
        return default
    value = read.values["cascade"]
    if value is None:
        return None
    names = [field.name for field in fields(CascadeSettings)]
    if not isinstance(value, dict):
        raise read.error("cascade", f"null or an object with the keys {', '.join(names)}")
    inner = _Reader(value, path=read.path, allowed=names, prefix="cascade.")
    cascade = CascadeSettings(
        coarse_ratio=inner.positive_int("coarse_ratio"),
        fine_ratio=inner.optional_int("fine_ratio", None),
        fine_count=inner.positive_int("fine_count"),
    )
    fine_ratio = 1 if cascade.fine_ratio is None else cascade.fine_ratio
    if cascade.coarse_ratio == fine_ratio or cascade.coarse_ratio % fine_ratio:
        raise inner.error("coarse_ratio", f"a multiple of fine_ratio {fine_ratio}, above it")
    return cascade


_REQUIRED: Any = object()


class _Reader:
    """Checked access to the keys of one JSON object.

    Args:
        values: The object.
        path: Its file, for messages.
        allowed: The keys it may hold; any other is refused, because a misspelt key would
            otherwise silently leave its default in force.
        prefix: Put before a key in messages, for nested objects.
    """

    def __init__(
        self, values: Mapping[str, Any], *, path: Path, allowed: list[str], prefix: str = ""
    ) -> None:
        self.values = values
        self.path = path
        self._prefix = prefix
        for key in values:
            if key not in allowed:
                raise InvalidCheckpointError(
                    f"{path}: unknown key {prefix + key!r}; allowed: {', '.join(allowed)}."
                )

    def has(self, key: str) -> bool:
        return key in self.values

    def error(self, key: str, allowed: str) -> InvalidCheckpointError:
        got = repr(self.values[key]) if key in self.values else "no such key"
        return InvalidCheckpointError(
            f"{self.path}: {self._prefix}{key} must be {allowed}; got {got}."
        )

    def positive_int(self, key: str, default: int = _REQUIRED) -> int:
        value = self.values.get(key, default)
        if not _is_positive_int(value):
            raise self.error(key, "a positive integer")
        return int(value)

    def optional_int(self, key: str, default: int | None) -> int | None:
        value = self.values.get(key, default)
        if value is not None and not _is_positive_int(value):
            raise self.error(key, "a positive integer or null")
        return value if value is None else int(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def text(self, key: str, default: str) -> str:
        value = self.values.get(key, default)
        # JSON can spell half of a surrogate pair, which no tokenizer can read.
        if not isinstance(value, str) or any("\ud800" <= char <= "\udfff" for char in value):
            raise self.error(key, "a string of valid Unicode")
        return value

    def ratios(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        if not self.has(key):
            return default
        value = self.values[key]
        is_valid = (
            isinstance(value, list)
            and bool(value)
            and all(_is_positive_int(ratio) for ratio in value)
            and value == sorted(set(value))
        )
        if not is_valid:
            raise self.error(key, "an ascending list of distinct positive integers")
        return tuple(value)


def _is_positive_int(value: object) -> bool:
    # bool is an int in Python: `true` would pass as 1.
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
