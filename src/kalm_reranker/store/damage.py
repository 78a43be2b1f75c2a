"""The error for records whose bytes are not what was written."""

from collections.abc import Sequence
from pathlib import Path

from kalm_reranker.errors import DamagedStoreError
from kalm_reranker.store.records import Damage

_MOST_NAMED = 5


def damage_error(
    path: Path, damaged: Sequence[Damage], structure: Sequence[str] = ()
) -> DamagedStoreError:
    """Returns an error that names the first few damaged records, and problems of the file."""
    found = [*structure, *map(str, damaged)]
    more = f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return DamagedStoreError(
        f"{path} is damaged: {'; '.join(found[:_MOST_NAMED])}{more}.",
        hint="Build the index again, or restore a copy: the file's structure is broken."
        if structure
        else "`kalm index verify --drop-damaged` deletes these records, so that adding them "
        "again encodes them.",
    )
