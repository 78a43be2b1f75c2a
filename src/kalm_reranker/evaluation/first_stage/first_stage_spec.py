"""How candidates are to be found, as people write it on a command line."""

import difflib
from dataclasses import dataclass
from typing import Literal, TypeAlias

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.search.analysis import Language, check_language

FirstStageKind: TypeAlias = Literal["bm25", "dense", "run", "mteb", "given"]

_FORMS: dict[FirstStageKind, str] = {
    "bm25": "bm25 or bm25:k1=0.9,b=0.4,language=auto",
    "dense": "dense or dense:MODEL",
    "run": "run:FILE or run:FOLDER with a <dataset>.trec for each dataset",
    "mteb": "mteb:FOLDER of saved predictions",
    "given": "given, for datasets that bring candidates",
}
_DEFAULT_DENSE_MODEL = "kalm-embedding"  # the one in the paper's protocol


@dataclass(frozen=True, kw_only=True)
class FirstStageSpec:
    """Which first stage, with its settings.

    Attributes:
        kind: What finds the candidates.
        target: The dense model, or the path of a run file or folder; None for the other kinds.
        k1: BM25's term frequency saturation; see `BM25FirstStage`.
        b: BM25's length normalisation.
        language: Of BM25's analyser; see `analyzer_for`.
    """

    kind: FirstStageKind
    target: str | None = None
    k1: float = 0.9
    b: float = 0.4
    language: Language = "auto"

    @classmethod
    def parse(cls, text: str) -> "FirstStageSpec":
        """Reads `bm25`, `bm25:k1=1.2,b=0.75`, `dense:MODEL`, `run:PATH`, `mteb:FOLDER`, `given`.

        Raises:
            InvalidOptionError: It is none of these, or a setting is out of range.

        Example:
            >>> FirstStageSpec.parse("bm25:k1=1.2").k1
            1.2
            >>> str(FirstStageSpec.parse("dense"))
            'dense:kalm-embedding'
        """
        word, colon, rest = text.strip().partition(":")
        if word == "bm25":
            return _bm25(rest, text)
        if word == "dense":
            return cls(kind="dense", target=rest or _DEFAULT_DENSE_MODEL)
        if word == "given" and not colon:
            return cls(kind="given")
        if word == "run" and rest:
            return cls(kind="run", target=rest)
        if word == "mteb" and rest:
            return cls(kind="mteb", target=rest)
        close = difflib.get_close_matches(word.casefold(), _FORMS, n=1, cutoff=0.5)
        suggestion = f"Did you mean {close[0]!r}? " if close and close[0] != word else ""
        raise InvalidOptionError(
            f"There is no first stage {text!r}.",
            hint=f"{suggestion}Write {'; '.join(_FORMS.values())}.",
        )

    def __str__(self) -> str:
        """Returns it as it can be parsed again."""
        if self.kind == "bm25":
            return f"bm25:k1={self.k1:g},b={self.b:g},language={self.language}"
        return self.kind if self.target is None else f"{self.kind}:{self.target}"


def _bm25(settings: str, text: str) -> FirstStageSpec:
    k1, b, language = 0.9, 0.4, check_language("auto")
    seen: set[str] = set()
    for setting in settings.split(",") if settings else ():
        name, _, value = (part.strip() for part in setting.partition("="))
        if name in seen:
            raise InvalidOptionError(f"{text!r} sets {name!r} twice.")
        seen.add(name)
        if name == "k1":
            k1 = _number(value, name, text)
        elif name == "b":
            b = _number(value, name, text)
        elif name == "language":
            language = check_language(value)
        else:
            raise InvalidOptionError(
                f"BM25 has the settings 'k1', 'b' and 'language'; got {setting!r} in {text!r}.",
                hint="Write them as bm25:k1=0.9,b=0.4,language=auto.",
            )
    if not 0 <= k1 < float("inf"):
        raise InvalidOptionError(f"k1 must be at least 0; got {k1!r} in {text!r}.")
    if not 0 <= b <= 1:
        raise InvalidOptionError(f"b must be between 0 and 1; got {b!r} in {text!r}.")
    return FirstStageSpec(kind="bm25", k1=k1, b=b, language=language)


def _number(value: str, name: str, text: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise InvalidOptionError(f"{name} must be a number; got {value!r} in {text!r}.") from error
