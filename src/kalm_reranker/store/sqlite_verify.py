"""Reads everything in a SQLite store and says what is not as it was written."""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kalm_reranker.errors import DamagedStoreError, StoreBusyError
from kalm_reranker.store.checksums import text_hash
from kalm_reranker.store.counters import Counters, highest_numbers, is_deletion, read_counters
from kalm_reranker.store.records import Damage, StoredPassage, StoredStates, VerifyReport
from kalm_reranker.store.sqlite_rows import checked_passage, checked_states, checked_vector

if TYPE_CHECKING:
    from kalm_reranker.store.sqlite_store import SQLiteStore

_KEYS_AT_ONCE = 256
_WRONG_VALUE = re.compile(
    r"^(NULL|NUMERIC|TEXT|non-\w+) value in (passages|states|vectors|deletions|counters)\."
    r"|^CHECK constraint failed in counters"
)
_MOST_PROBLEMS = 1_000  # of the file's structure; one page can cause many

_PASSAGES = "SELECT key, id, change, text_hash, checksum, metadata, text FROM passages"
_STATES = "SELECT key, token_count, truncated, text_hash, checksum, slots FROM states"
_VECTORS = "SELECT key, text_hash, checksum, vector FROM vectors"

_Rows = dict[int, tuple[Any, ...] | Damage]


@dataclass
class _Totals:
    passages: int = 0
    tokens: int = 0
    truncated: int = 0
    num_bytes: int = 0
    are_complete: bool = True  # no states were unreadable
    damaged: list[Damage] = field(default_factory=list)


def verify_store(store: "SQLiteStore", on_progress: Callable[[int], None]) -> VerifyReport:
    """Checks the file's structure, every record, and the counters.

    A file whose structure is broken is read as far as it goes: records are looked up one by one
    where reading them in order fails.

    Raises:
        StoreBusyError: The file is locked.
    """
    start = time.perf_counter()
    totals = _Totals()
    structure = _structure_problems(store)
    counters = _counters(store, totals)
    dense_until = counters.next_key if structure and counters is not None else 0
    for keys in _blocks_of_keys(store, dense_until):
        _check_records(store, keys, totals)
        on_progress(len(keys))
    if counters is not None:
        _check_counters(store, counters, totals)
    structure += _check_deletions(store, totals)
    return VerifyReport(
        num_passages=totals.passages,
        num_bytes=totals.num_bytes,
        structure=tuple(structure),
        damaged=tuple(totals.damaged),
        seconds=time.perf_counter() - start,
    )


def _structure_problems(store: "SQLiteStore") -> list[str]:
    problems: list[str] = []
    connection = store.reader()
    try:
        for (line,) in connection.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})"):
            text = line.decode("utf-8", "replace") if isinstance(line, bytes) else str(line)
            # Values of a wrong type are found again below, as damage of their record.
            if text != "ok" and not _WRONG_VALUE.search(text):
                problems.append(text)
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        (num_pages,) = connection.execute("PRAGMA page_count").fetchone()
    except sqlite3.Error as error:
        _raise_if_busy(error, store)
        problems.append(str(error))
    else:
        # SQLite reads what is cut off as zeros, and finds nothing amiss where those pages are free.
        log = store.path.with_name(f"{store.path.name}-wal")
        missing = num_pages * page_bytes - _size(store.path)
        if missing > 0 and _size(log) == 0:
            problems.append(f"the file was cut off: {missing:,} bytes are missing")
    return problems


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _blocks_of_keys(store: "SQLiteStore", dense_until: int) -> Iterator[list[int]]:
    """Yields all keys in any of the tables, ascending, some at a time.

    Args:
        store: Whose keys.
        dense_until: Of a file whose structure is broken, so that its tables cannot be trusted to
            list their keys: yield all numbers up to this one, whether they are keys or not.
    """
    for first in range(1, dense_until, _KEYS_AT_ONCE):
        yield list(range(first, min(first + _KEYS_AT_ONCE, dense_until)))
    after = -(2**63)
    while True:
        found: set[int] = set()
        for table in ("passages", "states", "vectors"):
            sql = f"SELECT key FROM {table} WHERE key > ? ORDER BY key LIMIT ?"
            try:
                rows = store.reader().execute(sql, (after, _KEYS_AT_ONCE)).fetchall()
                found |= {row[0] for row in rows}
            except sqlite3.Error as error:  # the structure is broken, and that was said
                _raise_if_busy(error, store)
        # A broken tree may go back.
        block = sorted(key for key in found if isinstance(key, int) and key > after)
        block = block[:_KEYS_AT_ONCE]
        if not block:
            return
        if fresh := [key for key in block if not 0 < key < dense_until]:
            yield fresh
        after = block[-1]


def _check_records(store: "SQLiteStore", keys: list[int], totals: _Totals) -> None:
    passages, states = _read(store, _PASSAGES, keys), _read(store, _STATES, keys)
    vectors = _read(store, _VECTORS, keys)
    for key in keys:
        passage_row, states_row = passages.get(key), states.get(key)
        if passage_row is None and states_row is None:
            if key in vectors:
                totals.damaged.append(Damage(key, None, "a dense vector without a passage"))
            continue
        totals.passages += 1
        found = list(_record_damage(store, key, passage_row, states_row, vectors.get(key), totals))
        if found:
            names = [damage.id for damage in found if damage.id is not None]
            name = names[0] if names else _name_of(passage_row)
            totals.damaged.append(Damage(key, name, "; ".join(damage.what for damage in found)))


def _record_damage(
    store: "SQLiteStore",
    key: int,
    passage_row: tuple[Any, ...] | Damage | None,
    states_row: tuple[Any, ...] | Damage | None,
    vector_row: tuple[Any, ...] | Damage | None,
    totals: _Totals,
) -> Iterator[Damage]:
    header = store.header
    passage: StoredPassage | Damage = _checked(
        passage_row, Damage(key, None, "states without a passage"), checked_passage, key
    )
    states: StoredStates | Damage = _checked(
        states_row,
        Damage(key, None, "its states are missing"),
        lambda key, row: checked_states(
            key, row, ratio=header.compression_ratio, slot_bytes=store.slot_bytes
        ),
        key,
    )
    if isinstance(passage, Damage):
        yield passage
    elif passage.text is not None and text_hash(passage.text) != passage.text_hash:
        yield Damage(key, passage.id, "its text is not the one that was hashed")
    if isinstance(states, Damage):
        totals.are_complete = False
        yield states
    else:
        totals.tokens += states.token_count
        totals.truncated += states.truncated
        totals.num_bytes += states.num_bytes
        if isinstance(passage, StoredPassage) and isinstance(states_row, tuple):
            if states_row[3] != passage.text_hash:
                yield Damage(key, passage.id, "its states are those of another text")
    if header.dense is not None or vector_row is not None:
        vector = _checked(
            vector_row,
            Damage(key, None, "its dense vector is missing"),
            lambda key, row: checked_vector(key, row[1:]),
            key,
        )
        if isinstance(vector, Damage):
            yield vector


def _checked(row: Any, absent: Damage, check: Callable[[int, Any], Any], key: int) -> Any:  # noqa: ANN401
    if row is None:
        return absent
    return row if isinstance(row, Damage) else check(key, row)


def _name_of(row: tuple[Any, ...] | Damage | None) -> str | None:
    if isinstance(row, tuple) and isinstance(row[1], bytes):
        return row[1].decode("utf-8", "backslashreplace")
    return None


def _read(store: "SQLiteStore", select: str, keys: list[int]) -> _Rows:
    """Returns the rows of the keys that have one; damage where the file breaks on the way."""
    connection = store.reader()
    try:
        rows = connection.execute(
            f"{select} WHERE key BETWEEN ? AND ?", (keys[0], keys[-1])
        ).fetchall()
        return {row[0]: row for row in rows if isinstance(row[0], int)}
    except sqlite3.Error as error:
        _raise_if_busy(error, store)
    found: _Rows = {}
    for key in keys:
        try:
            row = connection.execute(f"{select} WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            found[key] = Damage(key, None, f"cannot be read: {error}")
        else:
            if row is not None:
                found[key] = row
    return found


def _counters(store: "SQLiteStore", totals: _Totals) -> Counters | None:
    try:
        return read_counters(store.reader(), store.path)
    except (sqlite3.Error, DamagedStoreError) as error:
        if isinstance(error, sqlite3.Error):
            _raise_if_busy(error, store)
        totals.damaged.append(Damage(None, None, "the counters are not what was written"))
        return None


def _check_counters(store: "SQLiteStore", counters: Counters, totals: _Totals) -> None:
    try:
        key, change = highest_numbers(store.reader())
    except sqlite3.Error as error:
        _raise_if_busy(error, store)
        return  # the structure is broken, and that was said
    pairs = {
        "num_passages": (counters.num_passages, totals.passages),
    }
    if totals.are_complete:
        pairs["num_tokens"] = (counters.num_tokens, totals.tokens)
        pairs["num_truncated"] = (counters.num_truncated, totals.truncated)
    for name, (said, found) in pairs.items():
        if said != found:
            what = f"the counter {name} says {said:,}; {found:,} was found"
            totals.damaged.append(Damage(None, None, what))
    if counters.next_key <= key or counters.last_change < change:
        what = "the counters are behind the records"
        totals.damaged.append(Damage(None, None, what))


def _check_deletions(store: "SQLiteStore", totals: _Totals) -> list[str]:
    try:
        for change, key, checksum in store.reader().execute(
            "SELECT change, key, checksum FROM deletions"
        ):
            if not is_deletion(change, key, checksum):
                what = f"the record of the deletion number {change} is not what was written"
                totals.damaged.append(Damage(None, None, what))
    except sqlite3.Error as error:
        _raise_if_busy(error, store)
        return [f"the records of deletions cannot be read: {error}"]
    return []


def _raise_if_busy(error: sqlite3.Error, store: "SQLiteStore") -> None:
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise StoreBusyError(f"{store.path} is locked by another process: {error}.") from error
