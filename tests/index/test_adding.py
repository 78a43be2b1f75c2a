"""What an add encodes, skips, replaces and reports."""

import json

import pytest

from kalm_reranker.errors import DataFileError
from kalm_reranker.index.passage_index import PassageIndex
from tests.index.conftest import PASSAGES


def encoded(reranker):
    return reranker.stats.passages_encoded


def test_the_same_again_is_skipped_without_encoding(index, reranker):
    before = encoded(reranker)
    report = index.add(PASSAGES)
    assert (report.unchanged, report.added, report.replaced) == (6, 0, 0)
    assert encoded(reranker) == before


def test_only_what_changed_is_encoded(index, reranker):
    before = encoded(reranker)
    changed = [PASSAGES[0] | {"text": "Beijing was the capital."}, *PASSAGES[1:]]
    report = index.add([*changed, ("new", "A new one.")])
    assert (report.added, report.replaced, report.unchanged) == (1, 1, 5)
    assert encoded(reranker) == before + 2
    assert index.get("beijing").text == "Beijing was the capital."


def test_new_metadata_cost_no_encoding(index, reranker):
    before = encoded(reranker)
    report = index.add([PASSAGES[0] | {"lang": "zh"}])
    assert (report.metadata_updated, report.unchanged) == (1, 0)
    assert encoded(reranker) == before
    assert index.get("beijing").metadata == {"lang": "zh", "year": 2020}
    assert index.verify().ok


def test_duplicates_in_one_batch_count_one_by_one_and_the_last_stays(tmp_path, reranker):
    with PassageIndex.create(tmp_path / "index", reranker) as index:
        before = encoded(reranker)
        report = index.add([("a", "one"), ("a", "two"), ("a", "two"), ("b", "x"), ("a", "three")])
        assert (report.added, report.replaced, report.unchanged) == (2, 2, 1)
        assert encoded(reranker) == before + 2
        assert index.get("a").text == "three"
        assert len(index) == 2


def test_back_to_the_stored_text_within_a_batch_encodes_nothing(index, reranker):
    before = encoded(reranker)
    report = index.add([("gravity", "Something else."), PASSAGES[1]])
    assert report.replaced == 2
    assert encoded(reranker) == before
    assert index.get("gravity").text == PASSAGES[1]["text"]


@pytest.mark.parametrize(
    "name", ["a\nb", "a\x00b", "😀 \u202eabc", "x" * 10_000, " ", "..", "'; DROP TABLE passages"]
)
def test_any_id_is_an_id(tmp_path, reranker, name):
    with PassageIndex.create(tmp_path / "index", reranker) as index:
        index.add([(name, "The capital of China."), ("other", "x")])
        assert index.get(name).text == "The capital of China."
        assert index.search("capital")[0].id == name
        assert index.delete(name) == 1
        assert len(index) == 1


@pytest.mark.parametrize(
    "text", ["", " \n", "a\x00b", "\x1b[31m", "x" * 300_000, "<bos><end_of_turn>", "\ue000\uffff"]
)
def test_any_text_is_a_text(tmp_path, reranker, text):
    with PassageIndex.create(tmp_path / "index", reranker) as index:
        index.add([("a", text)])
        assert index.get("a").text == text
        assert index.verify().ok
        assert index.add([("a", text)]).unchanged == 1


def test_cuts_are_counted(tmp_path, reranker):
    with PassageIndex.create(tmp_path / "index", reranker) as index:
        report = index.add(PASSAGES)
        assert report.truncated == 1
        assert index.stats().store.num_truncated == 1
        index.add([("long", "short now")])
        assert index.stats().store.num_truncated == 0


BAD_RECORDS = [
    ({"text": "no id"}, r"passages\[1\]: .*id"),
    ({"id": "x"}, "text"),
    ({"id": "", "text": "t"}, "id"),
    ({"id": "x", "text": 3}, "text"),
    ({"id": "x", "text": "\ud800"}, "lone surrogate"),
    ({"id": "x", "text": "t", "metadata": {"a": float("nan")}}, "JSON"),
    (("x", 3), "must be a string"),
    ("just text", "must be a Passage, a mapping"),
]


@pytest.mark.parametrize(("record", "message"), BAD_RECORDS)
def test_a_bad_record_stops_after_what_came_before(tmp_path, reranker, record, message):
    with PassageIndex.create(tmp_path / "index", reranker) as index:
        with pytest.raises(DataFileError, match=message):
            index.add([("a", "one"), record, ("b", "two")])
        assert list(index.ids()) == ["a"]


def test_bad_records_can_be_skipped_counted_and_listed(tmp_path, reranker):
    with PassageIndex.create(tmp_path / "index", reranker) as index:
        bad = [record for record, _ in BAD_RECORDS]
        report = index.add([("a", "one"), *bad, ("b", "two")], on_error="skip")
        assert list(index.ids()) == ["a", "b"]
        assert report.num_problems == len(bad) == len(report.problems)
        assert report.problems[0].where == "passages[1]"


def test_a_source_that_breaks_in_the_middle_keeps_what_came_before(tmp_path, reranker):
    def records():
        yield ("a", "one")
        raise DataFileError("the network is gone.")

    with PassageIndex.create(tmp_path / "index", reranker) as index:
        with pytest.raises(DataFileError, match="the network is gone"):
            index.add(records())
        assert list(index.ids()) == ["a"]


def test_progress_is_told_after_each_commit(tmp_path, reranker):
    seen = []
    with PassageIndex.create(tmp_path / "index", reranker) as index:
        index.add(
            ((f"p{i}", f"text {i}") for i in range(200)),
            on_progress=lambda report: seen.append((report.added, len(index))),
        )
    assert seen[-1] == (200, 200)
    assert len(seen) > 2
    assert all(added == stored for added, stored in seen)


def test_memory_holds_a_block_not_the_input(tmp_path, reranker):
    alive = most = 0

    class Text(str):
        def __new__(cls, value):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return super().__new__(cls, value)

        def __del__(self):
            nonlocal alive
            alive -= 1

    texts = (("p", Text("x" * 3_000_000)) for _ in range(40))
    with PassageIndex.create(tmp_path / "index", reranker) as index:
        report = index.add(texts)
    assert report.num_passages == 40
    assert most < 15


def test_files_and_other_indexes_are_sources(index, tmp_path, reranker):
    lines = tmp_path / "more.jsonl"
    lines.write_text("".join(json.dumps({"id": f"f{i}", "text": f"t {i}"}) + "\n" for i in (1, 2)))
    assert index.add(lines).added == 2
    with PassageIndex.create(tmp_path / "copy", reranker, compression_ratio=4) as copy:
        report = copy.add(tmp_path / "index")
        assert report.added == 8
        assert copy.header.compression_ratio == 4
        assert copy.get("paris") == index.get("paris")
        assert copy.get("f2") == index.get("f2")


def test_an_index_without_texts_is_no_source(tmp_path, reranker):
    with PassageIndex.create(tmp_path / "bare", reranker, keep_text=False) as bare:
        bare.add(PASSAGES)
    with PassageIndex.create(tmp_path / "copy", reranker) as copy:
        with pytest.raises(DataFileError, match="keeps no texts"):
            copy.add(tmp_path / "bare")


def test_skipping_what_is_there_does_not_make_later_blocks_longer(tmp_path, reranker):
    known = [(f"known{i}", f"text {i}") for i in range(2_000)]
    steps = []
    with PassageIndex.create(tmp_path / "index", reranker) as index:
        index.add(known)
        index.add(
            [*known, *((f"new{i}", f"new text {i}") for i in range(300))],
            on_progress=lambda report: steps.append(report.added),
        )
    first = next(count for count in steps if count)
    assert first <= 64  # what a crash would have lost


def test_a_source_without_passages_is_told_of(tmp_path, reranker):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "data.bin").write_bytes(b"\x00")
    with PassageIndex.create(tmp_path / "index", reranker) as index:
        (note,) = index.add(tmp_path / "folder").notes
        assert "there was no passage in" in note
        (tmp_path / "folder" / "one.md").write_text("# One")
        assert index.add(tmp_path / "folder" / "one.md").added == 1
        assert index.get("one.md").text == "# One"
