"""The store by its methods; sequences of them are in the property tests."""

import sqlite3
import threading
import time

import pytest

from kalm_reranker.errors import DamagedStoreError, InputError
from kalm_reranker.store.passage import metadata_json
from kalm_reranker.store.sqlite_store import SQLiteStore


def changes(store, since):
    return [(change.key, change.text, change.change) for change in store.changes_since(since)]


def damage(store, statement, *parameters):
    connection = sqlite3.connect(store.path)
    connection.execute(statement, parameters)
    connection.commit()
    connection.close()


def test_changes_come_in_order_each_passage_as_it_is_now(store, passage):
    store.put_many([passage("a", "1"), passage("b", "2"), passage("c", "3")])
    assert changes(store, 0) == [(1, "1", 1), (2, "2", 2), (3, "3", 3)]
    store.put_many([passage("a", "4")])
    store.delete(["b"])
    assert changes(store, 0) == [(3, "3", 3), (1, "4", 4)]  # deletions need no telling from 0
    assert changes(store, 1) == [(3, "3", 3), (1, "4", 4), (2, None, 5)]
    assert changes(store, 4) == [(2, None, 5)]
    assert changes(store, 5) == []
    assert store.last_change() == 5


def test_new_metadata_is_a_change_too(store, passage):
    store.put_many([passage("a", "1"), passage("b", "2")])
    store.set_metadata([(1, '{"n":1}'), (99, None)])
    assert changes(store, 2) == [(1, "1", 3)]
    assert store.last_change() == 3
    assert store.read_passages([1]).found[1].metadata == {"n": 1}


def test_changes_are_paged_without_a_gap(store, passage):
    store.put_many([passage(f"p{n}", str(n)) for n in range(700)])
    store.delete([f"p{n}" for n in range(0, 700, 2)])
    found = changes(store, 100)
    assert [change for *_, change in found] == sorted(change for *_, change in found)
    assert {key for key, text, _ in found if text is None} == set(range(1, 701, 2))
    assert {key for key, text, _ in found if text is not None} == set(range(102, 701, 2))
    assert list(store.keys()) == list(range(2, 701, 2))


def test_changed_keys_up_to_a_limit(store, passage):
    store.put_many([passage(f"p{n}") for n in range(5)])
    store.delete(["p0", "p1"])
    assert sorted(store.changed_keys_since(0, 10)) == [1, 2, 3, 4, 5]
    assert sorted(store.changed_keys_since(4, 3)) == [1, 2, 5]
    assert store.changed_keys_since(4, 2) is None
    assert store.changed_keys_since(7, 0) == []


def test_samples_are_spread_and_complete_where_there_is_room(store, passage):
    store.put_many([passage(f"p{n}", str(n)) for n in range(100)])
    assert store.sample_texts(1000) == [str(n) for n in range(100)]
    few = [int(text) for text in store.sample_texts(10)]
    assert 5 <= len(few) <= 10
    assert few[0] < 20
    assert few[-1] > 80
    store.delete([f"p{n}" for n in range(100)])
    assert store.sample_texts(10) == []


def test_known_passages(store, passage):
    a = passage("a", "x", metadata='{"n":1}')
    store.put_many([a, passage("b", "y")])
    known = store.known(["b", "a", "c", "a"])
    assert {name: item.key for name, item in known.items()} == {"a": 1, "b": 2}
    assert (known["a"].text_hash, known["a"].metadata) == (a.text_hash, '{"n":1}')
    assert known["b"].metadata is None
    assert store.keys_of(["c", "b"]) == {"b": 2}


def test_a_batch_is_stored_whole_or_not_at_all(store, passage):
    store.put_many([passage("a", "old")])
    with pytest.raises(Exception, match="encode"):  # a lone surrogate, which no check let in
        store.put_many([passage("a", "new"), passage("b"), passage("\ud800", "bad")])
    assert store.num_passages() == 1
    assert changes(store, 0) == [(1, "old", 1)]
    assert store.verify().ok


def test_keys_are_never_given_again(store, passage):
    store.put_many([passage("a"), passage("b")])
    store.delete(["b"])
    store.compact()
    store.close()
    store.put_many([passage("b"), passage("c")])
    assert store.keys_of(["a", "b", "c"]) == {"a": 1, "b": 3, "c": 4}


def test_a_counter_that_is_behind_writes_over_nothing(store, passage):
    """Also where its checksum is right: the database itself refuses."""
    from kalm_reranker.store.checksums import counters_checksum

    store.put_many([passage("a", "mine"), passage("b", "yours")])
    store.close()
    damage(
        store,
        "UPDATE counters SET next_key = 1, checksum = ?",
        counters_checksum(1, 2, 2, 6, 0),
    )
    assert not store.verify().ok
    with pytest.raises(DamagedStoreError):
        store.put_many([passage("c", "new")])
    assert changes(store, 0) == [(1, "mine", 1), (2, "yours", 2)]
    store.delete_keys([])
    assert store.verify().ok


def test_missing_and_repeated_keys(store, passage):
    store.put_many([passage("a")])
    for read in (store.read_states, store.read_passages):
        found = read([5, 1, 1, -3, 2**62])
        assert list(found.found) == [1]
        assert found.missing == (-3, 5, 2**62)
        assert found.damaged == ()
    assert store.delete(["a", "a", "none"]) == 1
    assert store.delete_keys([1, 77]) == 0
    assert store.verify().ok


def test_verify_sees_one_moment_while_others_write(store, passage):
    stop, reports = threading.Event(), []

    def write():
        other = SQLiteStore(store.path.parent)
        for number in range(10_000):
            if stop.is_set():
                break
            other.put_many([passage(f"p{number % 300}", str(number)) for _ in range(3)])
            other.delete([f"p{(number + 150) % 300}"])
        other.close()

    thread = threading.Thread(target=write)
    thread.start()
    deadline = time.monotonic() + 60
    while len({report.num_passages for report in reports}) < 20 and time.monotonic() < deadline:
        reports.append(store.verify())
    stop.set()
    thread.join()
    assert all(report.ok for report in reports), [r for r in reports if not r.ok][:1]
    assert len({report.num_passages for report in reports}) >= 20


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE passages SET text = 'b' WHERE key = 2", "id, text or metadata"),
        ("UPDATE passages SET metadata = '{\"a\":1}' WHERE key = 2", "id, text or metadata"),
        ("UPDATE passages SET text = NULL WHERE key = 2", "id, text or metadata"),
        ("UPDATE passages SET text_hash = x'00' WHERE key = 2", "id, text or metadata"),
        ("UPDATE states SET slots = zeroblob(16) WHERE key = 2", "states are not"),
        ("UPDATE states SET slots = x'01' || substr(slots, 2) WHERE key = 2", "states are not"),
        ("UPDATE states SET token_count = 4 WHERE key = 2", "states are not"),
        ("UPDATE states SET truncated = 1 WHERE key = 2", "states are not"),
        ("UPDATE states SET key = 9 WHERE key = 2", "states are missing"),
        ("DELETE FROM states WHERE key = 2", "states are missing"),
        ("INSERT INTO vectors VALUES (2, x'00', x'00', x'00')", "its dense vector"),
    ],
)
def test_verify_names_a_damaged_passage(store, passage, statement, what):
    store.put_many([passage(name, name, metadata='{"b":1}') for name in "xyz"])
    store.close()
    damage(store, statement)
    report = store.verify()
    assert not report.ok
    named = [item for item in report.damaged if item.id == "y"]
    assert [item.key for item in named] == [2]
    assert what in str(named[0])
    assert str(named[0]).startswith("passage 'y': ")
    store.delete_keys([item.key for item in report.damaged if item.key is not None])
    assert store.verify().ok
    assert store.num_passages() == 2
    assert store.counts().num_tokens == 6


def test_states_of_another_text_are_damage(store, passage):
    """Both rows are as written, by a writer that was torn in two; together they are wrong."""
    store.put_many([passage("a", "one")])
    store.close()
    connection = sqlite3.connect(store.path)
    connection.execute("CREATE TEMP TABLE kept AS SELECT * FROM states")
    store.put_many([passage("a", "two")])
    store.close()
    connection.execute("DELETE FROM states")
    connection.execute("INSERT INTO states SELECT * FROM kept")
    connection.commit()
    connection.close()
    assert "its states are those of another text" in str(store.verify().damaged[0])


def test_metadata_is_no_deeper_than_any_reader_can_go():
    assert metadata_json({"a": {"b": [1, {"c": None}]}}, "it") == '{"a":{"b":[1,{"c":null}]}}'
    deep = []
    for _ in range(101):
        deep = [deep]
    with pytest.raises(InputError, match="nested more than 100 levels"):
        metadata_json({"deep": deep}, "it")


def test_compacting_gives_space_back(store, passage):
    store.put_many([passage(f"p{n}", "word " * 2000) for n in range(200)])
    store.delete([f"p{n}" for n in range(190)])
    before = store.counts()
    store.compact()
    after = store.counts()
    assert after.file_bytes < before.file_bytes / 3
    assert after.free_bytes == 0
    assert store.verify().ok
    assert store.num_passages() == 10


def test_a_broken_order_of_many_rows_ends(store, passage):
    """Of a table of several pages: what comes "after the last" may come before it."""
    store.put_many([passage(f"p{n}", "word " * 20) for n in range(700)])
    store.close()
    connection = sqlite3.connect(store.path)
    rows = connection.execute(
        "SELECT pageno, pgsize FROM dbstat WHERE name = 'passages' AND pagetype = 'leaf'"
    ).fetchall()
    connection.close()
    sound = store.path.read_bytes()
    for page, size in rows:
        content = bytearray(sound)
        start = (page - 1) * size
        count = int.from_bytes(content[start + 3 : start + 5], "big")
        pointers = [slice(start + 8 + 2 * n, start + 10 + 2 * n) for n in range(count)]
        first, last = bytes(content[pointers[0]]), bytes(content[pointers[-1]])
        content[pointers[0]], content[pointers[-1]] = last, first
        store.path.write_bytes(content)
        report = store.verify()
        assert report.structure
        with pytest.raises(DamagedStoreError, match="not in the order"):
            list(store.keys())
        store.close()
