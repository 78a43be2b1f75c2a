"""Bytes on disk that are not what was written: found, named, never taken for good."""

import random
import shutil
import signal
import sqlite3
from contextlib import closing, contextmanager
from functools import partial
from itertools import count

import pytest

from kalm_reranker.errors import DamagedStoreError, KalmRerankerError
from kalm_reranker.index.passage_index import PassageIndex
from kalm_reranker.store.passage import Passage
from kalm_reranker.store.sqlite_store import SQLiteStore
from tests.crash.small_index import QUERY, build, records

STORE = "passages.sqlite"
PAGE_BYTES = 16_384
# A search takes some 50 ms; what takes this long has no end.
HANGS_S = 20


@pytest.fixture(scope="module")
def sound(tmp_path_factory, reranker):
    """An undamaged index, and what it answers."""
    return Sound(tmp_path_factory.mktemp("sound") / "index", reranker)


class Sound:
    def __init__(self, folder, reranker):
        self.folder, self.reranker = folder, reranker
        self.passages = build(folder, reranker)
        self.content = (folder / STORE).read_bytes()
        with PassageIndex.open(folder, reranker) as index:
            assert index.verify().ok
            assert {p.id: p for p in map(index.get, index.ids())} == self.passages
            self.margins = {
                result.id: result.margin
                for result in index.rerank(QUERY, list(self.passages), cascade=None)
            }
            assert set(self.margins) == set(self.passages)
            found = index.search(QUERY, 10, candidates=12, cascade=None)
            self.found = [result.id for result in found]
        with closing(SQLiteStore(folder)) as store:
            self.records = records(store)
            self.found_quickly = {name: read(store) for name, read in READS.items()}

    def copy(self, folder, content):
        """Another copy of the index, with other bytes in its store."""
        if folder.exists():
            # Out of the way first: tantivy's threads may still write what the last search began.
            old = folder.rename(folder.with_name(f"old-{next(_NUMBERS)}"))
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        (folder / STORE).write_bytes(content)
        return folder


_NUMBERS = count()


@contextmanager
def no_hang(what):
    def stop(*_):
        raise AssertionError(f"{what}: no end after {HANGS_S} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, HANGS_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Outcome:
    """What happened with one damaged copy."""

    def __init__(self):
        self.refused = []
        self.is_verified = False

    def attempt(self, name, action):
        """Returns what an action returns; None where it raised an error of the package."""
        try:
            return action()
        except KalmRerankerError as error:
            self.refused.append((name, error))
            return None


def check_copy(sound, folder, *, writes=True):
    """Does everything with a damaged copy; asserts that nothing wrong is taken for good."""
    outcome = Outcome()
    index = outcome.attempt("open", lambda: PassageIndex.open(folder, sound.reranker))
    if index is None:
        return outcome
    with index:
        report = outcome.attempt("verify", index.verify)
        outcome.is_verified = report is not None and report.ok
        check_reading(sound, index, outcome)
        if outcome.is_verified:
            with closing(SQLiteStore(folder)) as store:
                assert records(store) == sound.records
            assert not outcome.refused
        if writes:
            check_writing(sound, index, outcome)
    return outcome


def check_reading(sound, index, outcome):
    ids = list(sound.passages)
    for name in ids:
        passage = outcome.attempt("get", lambda name=name: index.get(name))
        assert passage is None or passage == sound.passages[name]
    outcome.attempt("stats", index.stats)
    outcome.attempt("ids", lambda: list(index.ids()))
    outcome.attempt("len", lambda: len(index))
    for name, action in (
        ("search", lambda: index.search(QUERY, 10, candidates=12, cascade=None)),
        ("rerank", lambda: index.rerank(QUERY, ids, cascade=None, missing_ok=True)),
    ):
        results = outcome.attempt(name, action)
        if results is None:
            continue
        for result in results:
            passage = sound.passages[result.id]
            assert (result.text, result.metadata) == (passage.text, passage.metadata or {})
            assert result.margin == sound.margins[result.id]
        expected = set(sound.found if name == "search" else ids)
        lost = expected - {result.id for result in results}
        said = [*results.damaged, *results.notes]
        assert not lost or said, f"{name} lost {lost} without a word"


def check_writing(sound, index, outcome):
    """What is written to a damaged store is kept, or refused; nothing else is changed by it."""
    added = [Passage(f"new{n}", f"a new passage {n}", {"new": n}) for n in range(5)]
    again = list(sound.passages.values())[3:6]
    report = outcome.attempt("add", lambda: index.add([*added, *again]))
    if report is not None:
        for passage in [*added, *again]:
            got = outcome.attempt("get", lambda passage=passage: index.get(passage.id))
            assert got is None or got == passage
    for name in sound.passages:
        passage = outcome.attempt("get", lambda name=name: index.get(name))
        assert passage is None or passage == sound.passages[name]
    outcome.attempt("delete", lambda: index.delete(list(sound.passages)[:2], missing_ok=True))
    outcome.attempt("compact", index.compact)
    report = outcome.attempt("verify", index.verify)
    if report is not None and report.ok:
        with closing(SQLiteStore(index.folder)) as store:
            after = records(store)
        kept = {name: record for name, record in after.items() if name in sound.records}
        assert kept.items() <= sound.records.items()


def run(sound, scratch, damages):
    """Tries damages, each a name and new content; returns how many were found by `verify`."""
    outcomes = []
    for number, (name, content) in enumerate(damages):
        with no_hang(name):
            try:
                # Writing takes half of the time; every other copy is enough.
                folder = sound.copy(scratch / "copy", content)
                outcome = check_copy(sound, folder, writes=number % 2 == 0)
            except Exception as error:
                error.add_note(f"damage: {name}")
                raise
        outcomes.append((name, outcome))
    return outcomes


def flips(sound, seed, offsets):
    generator = random.Random(seed)
    for offset in offsets:
        content = bytearray(sound.content)
        bit = generator.randrange(8)
        content[offset] ^= 1 << bit
        yield (
            f"bit {bit} of byte {offset} ({offset // PAGE_BYTES + 1}:{offset % PAGE_BYTES})",
            content,
        )


def offsets_in_every_page(sound, seed, per_page):
    """Half of them where SQLite keeps a page's own structure, half of them anywhere."""
    generator = random.Random(seed)
    for start in range(0, len(sound.content), PAGE_BYTES):
        for number in range(per_page):
            yield start + generator.randrange(PAGE_BYTES if number % 2 else 100)


def test_flipped_bits_are_found_or_harmless(sound, scratch):
    offsets = list(offsets_in_every_page(sound, 1, 8))
    outcomes = run(sound, scratch, flips(sound, 2, offsets))
    assert len(outcomes) >= 200
    found = sum(not outcome.is_verified for _, outcome in outcomes)
    assert found > len(outcomes) / 4  # free pages and gaps take many of them


def test_flipped_bits_of_the_first_page_are_found_or_harmless(sound, scratch):
    """Format, sizes, journal mode, schema: byte by byte what opening depends on."""
    run(sound, scratch, flips(sound, 3, range(0, 108)))


def test_overwritten_and_zeroed_ranges_are_found_or_harmless(sound, scratch):
    generator = random.Random(4)
    damages = []
    for number in range(40):
        content = bytearray(sound.content)
        start = generator.randrange(len(content))
        count = min(generator.choice([1, 4, 16, 200, 5_000, 40_000]), len(content) - start)
        content[start : start + count] = bytes(count) if number % 2 else generator.randbytes(count)
        damages.append((f"{'zeros' if number % 2 else 'noise'} at {start}+{count}", content))
    run(sound, scratch, damages)


def test_truncated_files_are_found(sound, scratch):
    generator = random.Random(5)
    sizes = [0, 1, 15, 100, 512, PAGE_BYTES, len(sound.content) - 1]
    sizes += [generator.randrange(len(sound.content)) for _ in range(13)]
    outcomes = run(sound, scratch, [(f"cut to {n}", sound.content[:n]) for n in sizes])
    assert not any(outcome.is_verified for _, outcome in outcomes)


def of_table(sound, *names):
    """The byte offsets of pages of a table or an index, by SQLite's own account."""
    with closing(sqlite3.connect(sound.folder / STORE)) as connection:
        try:
            rows = connection.execute("SELECT name, pageno, pagetype FROM dbstat").fetchall()
        except sqlite3.OperationalError:
            pytest.skip("this SQLite does not tell which page is whose")
    return [
        (page - 1) * PAGE_BYTES for name, page, kind in rows if name in names and kind == "leaf"
    ]


def content_of_page(sound, start):
    """The offsets of the cells on a b-tree page."""
    first = int.from_bytes(sound.content[start + 5 : start + 7], "big")
    return range(start + first, start + PAGE_BYTES)


# What is read of a store without a model.
READS = {
    "records": lambda store: read_all(store),
    "counts": lambda store: store.counts(),
    "changes": lambda store: list(store.changes_since(1)),
    "changed keys": lambda store: store.changed_keys_since(1, 10_000),
    "sample": lambda store: store.sample_texts(10),
}


def check_quickly(sound, folder):
    """Opens, verifies, reads and counts; asserts that verify finds all that is not the same."""
    outcome = Outcome()
    store = outcome.attempt("open", lambda: SQLiteStore(folder))
    if store is None:
        return outcome
    with closing(store):
        report = outcome.attempt("verify", store.verify)
        outcome.is_verified = report is not None and report.ok
        found = {name: outcome.attempt(name, partial(read, store)) for name, read in READS.items()}
    if outcome.is_verified:
        assert found == sound.found_quickly
    return outcome


def read_all(store):
    try:
        return records(store)
    except AssertionError:
        return None  # it says which are damaged


def test_every_bit_of_the_counters_and_of_the_deletions_is_guarded(sound, scratch):
    """They are few, and everything leans on them."""
    folder = sound.copy(scratch / "copy", sound.content)
    offsets = [
        offset
        for table in ("counters", "deletions")
        for start in of_table(sound, table)
        for offset in content_of_page(sound, start)
    ]
    assert offsets
    found = 0
    for offset in offsets:
        for bit in range(8):
            content = bytearray(sound.content)
            content[offset] ^= 1 << bit
            (folder / STORE).write_bytes(content)
            with no_hang(f"bit {bit} of byte {offset}"):
                found += not check_quickly(sound, folder).is_verified
    # SQLite has two ways to write a 1, and takes either.
    assert found > 0.95 * 8 * len(offsets)


def test_every_letter_of_the_schema_is_guarded(sound, scratch):
    """`INTEGER PRIMARY KEX` is a schema as well, of other tables."""
    folder = sound.copy(scratch / "copy", sound.content)
    first = int.from_bytes(sound.content[105:107], "big")
    offsets, refused = range(first, PAGE_BYTES, 3), 0
    for offset in offsets:
        content = bytearray(sound.content)
        content[offset] ^= 0x81
        (folder / STORE).write_bytes(content)
        with no_hang(f"byte {offset}"):
            refused += check_quickly(sound, folder).refused != []
    assert refused > 0.98 * len(offsets)  # between two cells there may be a gap


@pytest.mark.parametrize("table", ["passages", "states", "deletions", "passages_by_change"])
def test_rows_out_of_order_lead_nobody_in_a_circle(sound, scratch, table):
    """Whoever reads "all after the last" must notice that the next is an earlier one."""
    for start in of_table(sound, table):
        content = bytearray(sound.content)
        count = int.from_bytes(content[start + 3 : start + 5], "big")
        if count < 2:
            continue
        header = 8
        for first, last in ((0, count - 1), (count // 2, count - 1)):
            cells = [
                slice(start + header + 2 * n, start + header + 2 * n + 2) for n in (first, last)
            ]
            content[cells[0]], content[cells[1]] = content[cells[1]], content[cells[0]]
            folder = sound.copy(scratch / "copy", content)
            with no_hang(f"{table} {start}"):
                outcome = check_copy(sound, folder)
                assert not outcome.is_verified
                assert not check_quickly(sound, folder).is_verified


@pytest.mark.parametrize("key", [-5, 2**40, 2**62, 2**63 - 1])
@pytest.mark.parametrize("table", ["passages", "states"])
def test_a_key_that_was_never_given_is_named_and_dropped(sound, scratch, table, key):
    """Walking all numbers up to it would take for ever."""
    folder = sound.copy(scratch / "copy", sound.content)
    with closing(sqlite3.connect(folder / STORE)) as connection:
        connection.execute(
            f"UPDATE {table} SET key = ? WHERE key = (SELECT key FROM passages WHERE id = 'p25')",
            (key,),
        )
        connection.commit()
    check_healed(sound, folder, {"p25" if table == "passages" else None})


def test_damaged_states_are_named_left_out_dropped_and_added_again(sound, scratch):
    for name in ("p9", "p25"):
        offset = sound.content.find(sound.records[name][-1])
        assert offset > 0
        content = bytearray(sound.content)
        content[offset + 5] ^= 4
        check_healed(sound, sound.copy(scratch / "copy", content), {name})


def test_damaged_texts_are_named_left_out_dropped_and_added_again(sound, scratch):
    name = "p25"
    offset = sound.content.find(sound.passages[name].text.encode())
    content = bytearray(sound.content)
    content[offset + 3] ^= 2
    check_healed(sound, sound.copy(scratch / "copy", content), {name})


def test_a_damaged_text_is_mended_by_adding_it_again(sound, scratch):
    """Its hash is that of the text that should be there; that alone must not count as known."""
    name = "p25"
    content = bytearray(sound.content)
    content[sound.content.find(sound.passages[name].text.encode()) + 3] ^= 2
    folder = sound.copy(scratch / "copy", content)
    with PassageIndex.open(folder, sound.reranker) as index:
        report = index.add(list(sound.passages.values()))
        assert (report.replaced, report.unchanged) == (1, len(sound.passages) - 1)
        assert index.verify().ok
    with closing(SQLiteStore(folder)) as store:
        assert records(store) == sound.records


@pytest.mark.parametrize(
    "column", ["token_count = token_count + 1", "token_count = 'x'", "truncated = 7", "slots = 5"]
)
def test_damaged_numbers_of_a_record_are_named_and_counted_again(sound, scratch, column):
    folder = sound.copy(scratch / "copy", sound.content)
    with closing(sqlite3.connect(folder / STORE)) as connection:
        connection.execute(
            f"UPDATE states SET {column} WHERE key = (SELECT key FROM passages WHERE id = 'p25')"
        )
        connection.commit()
    check_healed(sound, folder, {"p25"})


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE counters SET next_key = 5",
        "UPDATE counters SET next_key = 1125899906842624",
        "UPDATE counters SET last_change = 'x'",
        "UPDATE counters SET num_tokens = -1",
        "DELETE FROM counters",
        "UPDATE deletions SET key = 3",
        "DELETE FROM states WHERE key = (SELECT key FROM passages WHERE id = 'p25')",
        "DELETE FROM passages WHERE key = (SELECT key FROM passages WHERE id = 'p25')",
    ],
)
def test_what_the_counters_should_say_is_counted_again(sound, scratch, statement):
    folder = sound.copy(scratch / "copy", sound.content)
    with closing(sqlite3.connect(folder / STORE)) as connection:
        connection.execute(statement)
        connection.commit()
    check_healed(sound, folder, None)


def check_healed(sound, folder, names):
    """Verify names the damaged; search leaves them out; dropped and added again, all is well."""
    index = PassageIndex.open(folder, sound.reranker)
    outcome = Outcome()
    with index:
        check_reading(sound, index, outcome)
        report = index.verify()
        assert not report.ok
        assert report.structure == ()
        assert report.damaged
        if names is not None:
            assert names <= {damage.id for damage in report.damaged}
            assert not names - {None} or str(report.damaged[0]).startswith("passage")
        index.drop_damaged()
        assert index.verify().ok
        index.add(list(sound.passages.values()))
        assert index.verify().ok
        with closing(SQLiteStore(folder)) as store:
            assert records(store) == sound.records
        found = index.search(QUERY, 10, cascade=None)
        assert {r.id: r.margin for r in found}.items() <= sound.margins.items()
        assert len(found) == 10
        assert not found.damaged


def test_new_metadata_does_not_make_a_damaged_passage_look_right(sound, scratch):
    content = bytearray(sound.content)
    content[sound.content.find(sound.passages["p25"].text.encode()) + 3] ^= 2
    folder = sound.copy(scratch / "copy", content)
    with closing(SQLiteStore(folder)) as store:
        keys = store.keys_of(["p25"])
        with pytest.raises(DamagedStoreError, match="passage 'p25'"):
            store.set_metadata([(keys["p25"], '{"new":1}')])
        assert [str(d) for d in store.verify().damaged] == [
            "passage 'p25': id, text or metadata are not what was written"
        ]


def test_a_file_from_elsewhere_runs_nothing(sound, scratch):
    """A trigger would run with whatever is written next."""
    folder = sound.copy(scratch / "copy", sound.content)
    with closing(sqlite3.connect(folder / STORE)) as connection:
        connection.execute(
            "CREATE TRIGGER evil AFTER INSERT ON deletions BEGIN DELETE FROM passages; END"
        )
        connection.commit()
    with pytest.raises(DamagedStoreError, match="tables are not those"):
        SQLiteStore(folder)


def test_damage_to_the_first_stage_is_mended_or_said(sound, scratch):
    """Nothing in its folder is a source: whatever happens to it, the store has it all."""
    generator = random.Random(6)
    files = sorted(path for path in (sound.folder / "bm25").rglob("*") if path.is_file())
    assert len(files) > 5
    for path in files:
        for kind in ("flip", "cut", "remove"):
            folder = sound.copy(scratch / "copy", sound.content)
            target = folder / path.relative_to(sound.folder)
            content = bytearray(target.read_bytes())
            if kind == "remove":
                target.unlink()
            elif kind == "flip":
                content = content or bytearray(1)
                content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
                target.write_bytes(content)
            else:
                target.write_bytes(content[: len(content) // 2])
            with no_hang(f"{kind} {target.name}"):
                check_first_stage(sound, folder)


def check_first_stage(sound, folder):
    with PassageIndex.open(folder, sound.reranker) as index:
        outcome = Outcome()
        found = outcome.attempt(
            "search", lambda: index.search(QUERY, 10, candidates=12, cascade=None)
        )
        if found is None:
            assert isinstance(outcome.refused[0][1], DamagedStoreError)
            found = index.search(QUERY, 10, candidates=12, cascade=None)  # as its hint says
        assert [r.id for r in found] == sound.found
        assert {r.id: r.margin for r in found}.items() <= sound.margins.items()
