"""A passage by its id: what the index of ids leads to, held against the row itself."""

import sqlite3
from pathlib import Path

from kalm_reranker.errors import DamagedStoreError, shown
from kalm_reranker.store.records import Damage, StoredPassage
from kalm_reranker.store.sqlite_rows import checked_passage

PASSAGE_COLUMNS = "key, id, change, text_hash, checksum, metadata, text"

_KEY = "SELECT key FROM passages WHERE id = ?"
_ROW = f"SELECT {PASSAGE_COLUMNS} FROM passages WHERE key = ?"


def passage_named(
    connection: sqlite3.Connection, name: str, path: Path
) -> tuple[int, StoredPassage | Damage] | None:
    """Returns the key of an id, and its row; None where there is none.

    The id is looked up in an index that lies elsewhere in the file than the row. Where that is
    damaged, it may lead to another passage, which must not be shown or replaced in its stead.

    Raises:
        DamagedStoreError: The index leads to nothing, or to a passage of another id.
    """
    found = connection.execute(_KEY, (name,)).fetchone()
    if found is None:
        return None
    key: int = found[0]
    row = connection.execute(_ROW, (key,)).fetchone()
    passage = None if row is None else checked_passage(key, row)
    if passage is None or (isinstance(passage, StoredPassage) and passage.id != name):
        raise DamagedStoreError(
            f"{path} is damaged: its list of ids leads from {shown(name)} to another passage, "
            "or to none.",
            hint="Restore a copy, or build the index again in another folder.",
        )
    return key, passage
