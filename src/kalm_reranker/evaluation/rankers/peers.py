"""Other rerankers by the words of a command line."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.evaluation.rankers.base import Ranker
from kalm_reranker.evaluation.rankers.cross_encoder import CrossEncoderRanker
from kalm_reranker.evaluation.rankers.embedding import EmbeddingRanker
from kalm_reranker.evaluation.rankers.late_interaction import LateInteractionRanker
from kalm_reranker.evaluation.rankers.run_file import RunFileRanker

PeerKind: TypeAlias = Literal["cross-encoder", "embedding", "late-interaction", "run"]
PEER_KINDS: tuple[PeerKind, ...] = get_args(PeerKind)

_FORMS = (
    "cross-encoder:NAME[,max_length=512], embedding:NAME, late-interaction:NAME (each a directory "
    "or a hub id, with LABEL= before it and ,batch_size=32 after it if you like), or run:LABEL=FILE"
)
_OPTION = re.compile(r",\s*(max_length|batch_size)\s*=\s*([^,=]*)\Z")
_DEFAULT_BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class PeerSpec:
    """A reranker that is to be compared, and its settings.

    Attributes:
        kind: What it is.
        target: Directory, hub id or path.
        label: What tables call it; None for the model's own name.
        batch_size: Texts or pairs at a time; None for what `open` is told.
        max_length: Tokens of a pair, for cross-encoders; None for the model's own limit.
    """

    kind: PeerKind
    target: str
    label: str | None = None
    batch_size: int | None = None
    max_length: int | None = None

    def open(
        self,
        *,
        device: str | None = None,
        batch_size: int = _DEFAULT_BATCH_SIZE,
        show_progress: bool | None = None,
    ) -> Ranker:
        """Returns the ranker. Models are found or fetched here, and loaded by `prepare`.

        Args:
            device: As sentence-transformers knows them; None lets it choose.
            batch_size: Texts or pairs at a time, where the specification says nothing else.
            show_progress: See `progress_bar`.

        Raises:
            CheckpointError: The model cannot be found or fetched, or is of another kind.
            DataFileError: There is no such run.
            MissingExtraError: sentence-transformers is not installed, or too old.
        """
        if self.kind == "run":
            assert self.label is not None  # `parse_peer` asks for it
            return RunFileRanker(Path(self.target), name=self.label)
        size = self.batch_size or batch_size
        if self.kind == "cross-encoder":
            return CrossEncoderRanker(
                self.target,
                name=self.label,
                max_length=self.max_length,
                batch_size=size,
                device=device,
            )
        ranker = EmbeddingRanker if self.kind == "embedding" else LateInteractionRanker
        return ranker(
            self.target,
            name=self.label,
            batch_size=size,
            device=device,
            show_progress=show_progress,
        )


def parse_peer(text: str) -> PeerSpec:
    """Reads how a command line names another reranker.

    Args:
        text: `cross-encoder:NAME`, `embedding:NAME`, `late-interaction:NAME` or `run:LABEL=FILE`.
            A model's name may have `LABEL=` before it, and `,batch_size=N` or, for cross-encoders,
            `,max_length=N` after it.

    Raises:
        InvalidOptionError: It is none of these.

    Example:
        >>> parse_peer("cross-encoder:small=models/minilm,max_length=256").label
        'small'
    """
    word, _, rest = text.strip().partition(":")
    kind = next((kind for kind in PEER_KINDS if kind == word), None)
    if kind is None:
        close = difflib.get_close_matches(word.casefold(), PEER_KINDS, n=1, cutoff=0.5)
        suggestion = f"Did you mean {close[0]!r}? " if close else ""
        raise InvalidOptionError(
            f"There is no kind of reranker {word!r} (in {text!r}).",
            hint=f"{suggestion}Write {_FORMS}.",
        )
    options: dict[str, int] = {}
    while kind != "run" and (found := _OPTION.search(rest)) is not None:
        options[found[1]] = _positive(found[2], found[1], text)
        rest = rest[: found.start()]
    if "max_length" in options and kind != "cross-encoder":
        raise InvalidOptionError(
            f"max_length is a setting of cross-encoders; got {text!r}.",
            hint="Other models are cut at their own limit.",
        )
    label, equals, target = rest.partition("=")
    if not equals:
        label, target = "", rest
    label, target = label.strip(), target.strip()
    if not target or (equals and not label) or (kind == "run" and not label):
        raise InvalidOptionError(f"{text!r} names no reranker.", hint=f"Write {_FORMS}.")
    return PeerSpec(kind=kind, target=target, label=label or None, **options)


def _positive(value: str, name: str, text: str) -> int:
    if not value.strip().isdecimal() or int(value) < 1:
        raise InvalidOptionError(f"{name} must be a positive integer; got {value!r} in {text!r}.")
    return int(value)
