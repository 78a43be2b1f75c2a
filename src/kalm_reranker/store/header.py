"""What a store says of itself: format, model, ratio, codec. Written once, at its creation."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from kalm_reranker.encoding.provenance import Provenance
from kalm_reranker.encoding.windows import check_long_documents
from kalm_reranker.errors import (
    DamagedStoreError,
    InvalidOptionError,
    InvalidStoreError,
    shown,
)

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class DenseHeader:
    """The dense model whose vectors stand beside the states.

    Args:
        model: Name, hub id or directory, as given.
        fingerprint: Hash of its content.
        width: Values of a vector.
    """

    model: str
    fingerprint: str
    width: int


@dataclass(frozen=True, kw_only=True)
class StoreHeader:
    """Everything that must be known to read a store, and to add to it.

    Args:
        store_id: 32 random hex characters, for the store's whole life.
        model: Name, hub id or directory of the reranker, as given; where to load it from.
        revision: Its commit on the hub; None for other sources.
        provenance: Where the states come from; states of another origin are refused.
        compression_ratio: The base ratio: tokens per stored slot.
        codec: How slots are written.
        width: D, values of a slot.
        keep_text: Whether texts are kept beside the states.
        language: How BM25 reads the texts; see `search.analysis`.
        dense: The dense model, if vectors are kept.
        created_at: Time of creation, ISO 8601 in UTC.
        created_by: Name and version of the software.
    """

    store_id: str
    model: str
    revision: str | None
    provenance: Provenance
    compression_ratio: int
    codec: str
    width: int
    keep_text: bool
    language: str
    dense: DenseHeader | None
    created_at: str
    created_by: str

    def to_json(self) -> str:
        """Returns the header as JSON with sorted keys."""
        values = asdict(self)
        if self.provenance.long_documents == "truncate":
            # As before there was a choice, so that readers of then read it, and refuse the rest.
            del values["provenance"]["long_documents"]
        return json.dumps(values, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, where: str) -> "StoreHeader":
        """Reads what `to_json` wrote.

        Raises:
            DamagedStoreError: It is no JSON object.
            InvalidStoreError: Keys are missing, unknown, or of a wrong type.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DamagedStoreError(f"{where}: the header is no JSON: {error}.") from error
        read: dict[str, Any] = _checked(values, cls, where, "header")
        origin = {"long_documents": "truncate"} | read["provenance"]
        read["provenance"] = Provenance(**_checked(origin, Provenance, where, "provenance"))
        try:
            check_long_documents(read["provenance"].long_documents)
        except InvalidOptionError as error:
            raise InvalidStoreError(
                f"{where}: {error.message}",
                hint="The store was written by another version of this software.",
            ) from error
        if read["dense"] is not None:
            read["dense"] = DenseHeader(**_checked(read["dense"], DenseHeader, where, "dense"))
        return cls(**read)


_TYPES: dict[str, type | tuple[type, ...]] = {
    "provenance": dict,
    "dense": (dict, type(None)),
    "revision": (str, type(None)),
    "compression_ratio": int,
    "width": int,
    "template_version": int,
    "max_length": int,
    "keep_text": bool,
}


def _checked(values: object, kind: type, where: str, what: str) -> dict[str, Any]:
    """Returns the object if it has exactly the fields of a dataclass, each of its type."""
    names = [field.name for field in fields(kind)]
    if not isinstance(values, Mapping) or sorted(values) != sorted(names):
        got = sorted(values) if isinstance(values, Mapping) else shown(values)
        raise InvalidStoreError(
            f"{where}: the {what} must have the keys {', '.join(sorted(names))}; got {got}.",
            hint="The store was written by another version of this software.",
        )
    for name in names:
        allowed = _TYPES.get(name, str)
        value = values[name]
        if not isinstance(value, allowed) or (allowed is int and isinstance(value, bool)):
            raise InvalidStoreError(f"{where}: {what}.{name} has a wrong type; got {shown(value)}.")
        if isinstance(value, int) and allowed is int and value < 1:
            raise InvalidStoreError(f"{where}: {what}.{name} must be positive; got {value}.")
    return dict(values)
