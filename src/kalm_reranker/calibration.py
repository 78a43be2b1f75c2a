"""A calibration: from margins to probabilities that mean what they say, kept as a small file.

Fitted by `kalm calibrate` (`evaluation/calibration/calibrating.py`) on labelled pairs of a user's
own. A calibrated score is sigmoid(slope * margin + intercept) with slope > 0, so the order of
passages never changes.
"""

import json
import math
import os
import sys
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

from kalm_reranker.errors import (
    CalibrationMismatchError,
    InvalidCalibrationError,
    InvalidOptionError,
    StoreWriteError,
    shown,
)
from kalm_reranker.scoring import ScoredPair, score_from_margin
from kalm_reranker.whole_files import write_whole

FORMAT = "kalm-reranker-calibration"
FORMAT_VERSION = 1

CalibrationMethod: TypeAlias = Literal["temperature", "platt"]

_MOST_BYTES = 4 * 2**20  # of a file; ours have about 2 kB


@dataclass(frozen=True, kw_only=True)
class CalibrationOrigin:
    """The settings that margins were computed with; None where that is not known.

    Attributes:
        model: Name, as given.
        model_fingerprint: Hash of the model's config, tokenizer and weights.
        template_version: Version of the prompt.
        compression_ratio: Tokens per state.
        instructions: Task instructions of the pairs; empty where they are not known.
        system_instruction: Text that opens the prompt.
        max_length: Tokens passages were cut at, or of a window.
        long_documents: "truncate" or "windows".
        dtype: Of the model.
        quantization: "int8", or "none".
    """

    model: str | None = None
    model_fingerprint: str | None = None
    template_version: int | None = None
    compression_ratio: int | None = None
    instructions: tuple[str, ...] = ()
    system_instruction: str | None = None
    max_length: int | None = None
    long_documents: str | None = None
    dtype: str | None = None
    quantization: str | None = None

    def differences(self, **settings: object) -> list[str]:
        """Returns which of some settings differ from those known here, in words.

        Args:
            settings: By the name of the attribute; `instruction` is one of `instructions`.
        """
        found = []
        for name, value in settings.items():
            if name == "instruction":
                if self.instructions and value not in self.instructions:
                    found.append(f"another instruction than {shown(self.instructions[0])}")
                continue
            known = getattr(self, name)
            if known is not None and known != value:
                found.append(f"{name} {known!r}, not {value!r}")
        return found


@dataclass(frozen=True, kw_only=True)
class CalibrationData:
    """The labelled pairs behind a calibration.

    Attributes:
        source: Where they came from, as given.
        num_pairs: How many.
        num_positives: Of these, relevant.
        num_queries: Distinct queries among them.
    """

    source: str
    num_pairs: int
    num_positives: int
    num_queries: int

    def __post_init__(self) -> None:
        if not 0 < self.num_positives < self.num_pairs:
            raise InvalidCalibrationError(
                f"data must hold relevant pairs and others; got {self.num_positives} relevant of "
                f"{self.num_pairs}."
            )

    @property
    def base_rate(self) -> float:
        """Share of relevant pairs; calibrated scores are right on average where it holds."""
        return self.num_positives / self.num_pairs


@dataclass(frozen=True, kw_only=True)
class CalibrationQuality:
    """How well probabilities agree with labels; lower is better in all three.

    Attributes:
        log_loss: Mean negative log likelihood, in nats.
        brier: Mean squared difference.
        ece: Expected calibration error: difference of mean probability and share of relevant
            pairs in ten equal bins of [0, 1], weighted by the pairs in each.
    """

    log_loss: float
    brier: float
    ece: float


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The lowest score above which enough of the labelled pairs are relevant.

    Where no threshold reaches the wanted precision, everything is that of the best there is.

    Attributes:
        wanted_precision: What was asked for.
        score: Take pairs with at least this calibrated score.
        margin: The same as a margin.
        precision: Share of relevant pairs among those taken.
        precision_low: Lower end of the precision's 95% interval (Wilson).
        recall: Share of the relevant pairs that are taken.
        num_taken: Pairs at or above the threshold.
        held_out_precision: Of thresholds chosen in the same way without a query's own pairs; None
            where that was not measured, or took no pair.
        held_out_recall: Of the same; None where that was not measured.
    """

    wanted_precision: float
    score: float
    margin: float
    precision: float
    precision_low: float
    recall: float
    num_taken: int
    held_out_precision: float | None
    held_out_recall: float | None

    @property
    def reached(self) -> bool:
        """Whether the labelled pairs have the wanted precision there."""
        return self.precision >= self.wanted_precision


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Turns margins into calibrated probabilities. Never changes their order.

    Attributes:
        method: "temperature" (intercept 0) or "platt".
        slope: Above 0; 1 / temperature.
        intercept: Added after.
        origin: The settings it is meant for.
        data: What it was fitted on.
        raw: Quality of the model's own P(yes) on these pairs.
        fitted: Quality of the calibrated score on the pairs it was fitted to.
        held_out: Quality where each query's pairs were scored by a calibration fitted to the other
            queries; None with a single query.
        thresholds: For each precision that was asked for.
        created_at: Time, ISO 8601 in UTC.

    Raises:
        InvalidCalibrationError: The slope is not above 0, a parameter is not finite, or a
            temperature has an intercept.

    Example:
        >>> calibration = Calibration(
        ...     method="platt",
        ...     slope=0.5,
        ...     intercept=-1.0,
        ...     data=CalibrationData(source="x", num_pairs=500, num_positives=50, num_queries=20),
        ... )
        >>> calibration.score(2.0)
        0.5
    """

    method: CalibrationMethod
    slope: float
    intercept: float
    data: CalibrationData
    origin: CalibrationOrigin = CalibrationOrigin()
    raw: CalibrationQuality | None = None
    fitted: CalibrationQuality | None = None
    held_out: CalibrationQuality | None = None
    thresholds: tuple[Threshold, ...] = ()
    created_at: str = ""

    def __post_init__(self) -> None:
        if self.method not in get_args(CalibrationMethod):
            raise InvalidCalibrationError(
                f"method must be one of {', '.join(map(repr, get_args(CalibrationMethod)))}; got "
                f"{self.method!r}."
            )
        if not (math.isfinite(self.slope) and self.slope > 0):
            raise InvalidCalibrationError(
                f"slope must be a finite number above 0, or the order of passages would change; "
                f"got {self.slope!r}."
            )
        if not math.isfinite(self.intercept):
            raise InvalidCalibrationError(
                f"intercept must be a finite number; got {self.intercept!r}."
            )
        if self.method == "temperature" and self.intercept != 0:
            raise InvalidCalibrationError(
                f"intercept must be 0 for a temperature; got {self.intercept!r}."
            )

    def __str__(self) -> str:
        return f"{self.method} {self.slope:.4g} * margin {self.intercept:+.4g}"

    def score(self, margin: float) -> float:
        """Returns the calibrated probability that a pair with this margin is relevant.

        A larger margin never has a smaller score.
        """
        return score_from_margin(self.slope * margin + self.intercept)

    def scored_pair(self, margin: float) -> ScoredPair:
        """Returns a margin, unchanged, together with its calibrated score."""
        return ScoredPair(self.score(margin), margin)

    def threshold(self, precision: float) -> Threshold:
        """Returns the threshold that was fitted for a precision.

        Raises:
            InvalidOptionError: None was fitted for it.
        """
        for one in self.thresholds:
            if one.wanted_precision == precision:
                return one
        known = ", ".join(str(one.wanted_precision) for one in self.thresholds) or "none"
        raise InvalidOptionError(
            f"There is no threshold for a precision of {precision!r}; there are: {known}.",
            hint="Run kalm calibrate again with --precision.",
        )

    def check_model(self, fingerprint: str, template_version: int, name: str) -> None:
        """Refuses another model than the one it was fitted to.

        Args:
            fingerprint: Of the model that scores.
            template_version: Of the prompt it is asked with.
            name: Of the model, for the message.

        Raises:
            CalibrationMismatchError: The model, its tokenizer or the template is another one. What
                is not known of a calibration is not compared.
        """
        hint = f"Fit one to this model: kalm calibrate PAIRS --model {name}."
        known = self.origin.model_fingerprint
        if known not in (None, fingerprint):
            raise CalibrationMismatchError(
                f"The calibration was fitted to {self.origin.model!r}, model {known}; this is "
                f"{name!r}, model {fingerprint}.",
                hint=hint,
            )
        if self.origin.template_version not in (None, template_version):
            raise CalibrationMismatchError(
                f"The calibration was fitted with template version {self.origin.template_version}; "
                f"this package scores version {template_version}.",
                hint=hint,
            )

    def as_dict(self) -> dict[str, Any]:
        """Returns it as its file holds it."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as JSON; the file is there whole, or as it was before.

        Raises:
            StoreWriteError: It cannot be written.
        """
        text = json.dumps(self.as_dict(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"
        write_whole(Path(path), text.encode(), make_folder=False, error=StoreWriteError)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Calibration":
        """Reads what `save` wrote.

        Raises:
            InvalidCalibrationError: The file cannot be read, is no JSON, no calibration, of another
                version, or a value in it is missing, unknown or out of range; the message names
                file and value.
        """
        document = _read_json(Path(path))
        where = str(path)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise InvalidCalibrationError(
                f'{where} is no calibration: expected an object with "format": "{FORMAT}".',
                hint="kalm calibrate writes such files.",
            )
        version = document.get("format_version")
        if isinstance(version, bool) or version != FORMAT_VERSION:
            raise InvalidCalibrationError(
                f"{where}: format_version must be {FORMAT_VERSION}; got {shown(version)}.",
                hint="The file was written by another version of this software; fit it again.",
            )
        del document["format"], document["format_version"]
        try:
            return _typed(document, cls, where)  # type: ignore[no-any-return]
        except InvalidCalibrationError as error:
            if error.message.startswith(where):
                raise
            raise InvalidCalibrationError(f"{where}: {error.message}", hint=error.hint) from error


def as_calibration(value: "Calibration | str | os.PathLike[str] | None") -> Calibration | None:
    """Returns a calibration, read from its file where a path is given; None stays None.

    Raises:
        InvalidOptionError: It is none of these.
        InvalidCalibrationError: The file holds none.
    """
    if value is None or isinstance(value, Calibration):
        return value
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise InvalidOptionError(
            f"calibration must be a Calibration, the path of a file, or None; got {shown(value)}."
        )
    return Calibration.load(value)


def _read_json(path: Path) -> object:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InvalidCalibrationError(
            f"{path} cannot be read: {error.strerror or error}.",
            hint="Name a file that kalm calibrate wrote.",
        ) from error
    if len(data) > _MOST_BYTES:
        raise InvalidCalibrationError(
            f"{path} is no calibration: it has more than {_MOST_BYTES:,} bytes."
        )
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, endless digits or nesting
        raise InvalidCalibrationError(f"{path} is no JSON: {error}.") from error


def _typed(value: object, kind: Any, where: str) -> Any:  # noqa: ANN401 - types as values
    """Returns a JSON value as the annotated type of a dataclass's field, checked all the way.

    Raises:
        InvalidCalibrationError: It is of another type, a number is not finite, or an object lacks
            a field or has an unknown one.
    """
    if is_dataclass(kind) and isinstance(kind, type):
        return _typed_object(value, kind, where)
    if isinstance(kind, types.UnionType):  # "... | None" is the only one there is
        (present,) = (part for part in get_args(kind) if part is not types.NoneType)
        return None if value is None else _typed(value, present, where)
    if get_origin(kind) is tuple and isinstance(value, list):
        item = get_args(kind)[0]
        return tuple(_typed(one, item, f"{where}[{i}]") for i, one in enumerate(value))
    if kind is float and type(value) in (int, float):
        if abs(value) <= sys.float_info.max:  # type: ignore[arg-type]  # False for NaN
            return float(value)  # type: ignore[arg-type]
    elif get_origin(kind) is Literal or type(value) is kind:
        return value  # which literals are allowed is checked where they are used
    name = "list" if get_origin(kind) is tuple else getattr(kind, "__name__", str(kind))
    raise InvalidCalibrationError(f"{where}: expected {_TYPE_NAMES[name]}; got {shown(value)}.")


_TYPE_NAMES = {
    "float": "a finite number",
    "int": "a whole number",
    "str": "a string",
    "list": "a list",
}


def _typed_object(value: object, kind: type[Any], where: str) -> Any:  # noqa: ANN401
    names = [field.name for field in fields(kind)]
    if not isinstance(value, Mapping) or sorted(value) != sorted(names):
        got = ", ".join(sorted(value)) if isinstance(value, Mapping) else shown(value)
        raise InvalidCalibrationError(
            f"{where}: expected an object with the keys {', '.join(names)}; got {got}."
        )
    hints = get_type_hints(kind)
    return kind(**{name: _typed(value[name], hints[name], f"{where}: {name}") for name in names})
