import json

import numpy as np
import pytest

from kalm_reranker.errors import DamagedStoreError, DataFileError, NonFiniteScoreError
from kalm_reranker.evaluation.rankers.vector_files import VectorFiles

WIDTH = 3
MADE_FROM = {"fingerprint": "f"}
TEXTS = ["one", "two", "", "three \ud800"]


class Encoder:
    """Makes as many vectors as a text has characters, from these characters."""

    def __init__(self):
        self.seen = []

    def __call__(self, texts):
        self.seen += texts
        return [vectors_of(text) for text in texts]


def vectors_of(text):
    codes = np.array([ord(char) for char in text], np.float32)
    return codes[:, None] * np.array([1, 10, 100], np.float32)


def opened(folder, *, width=WIDTH, made_from=MADE_FROM):
    return VectorFiles(folder, made_from=made_from, width=width)


@pytest.fixture
def kept(tmp_path):
    folder = tmp_path / "new" / "folder"
    opened(folder).add(TEXTS, Encoder(), show_progress=False)
    return folder


def holds(files, texts):
    found = files.read(texts)
    return all(np.array_equal(a, vectors_of(t)) for a, t in zip(found, texts, strict=True))


def test_vectors_are_read_as_they_were_made_and_encoded_once(kept):
    files = opened(kept)
    assert files.num_reused == 4
    assert holds(files, TEXTS[::-1])
    assert [files.num_bytes(text) for text in TEXTS] == [36, 36, 0, 84]
    encoder = Encoder()
    assert files.add([*TEXTS, "four", "four", "five"], encoder, show_progress=False) == 2
    assert encoder.seen == ["four", "five"]
    assert holds(opened(kept), [*TEXTS, "four", "five"])
    with pytest.raises(KeyError):
        files.read(["six"])


def test_blocks_are_kept_when_a_later_one_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("kalm_reranker.evaluation.rankers.vector_files._BLOCK", 2)

    def encode(texts):
        if "two" in texts:
            raise KeyboardInterrupt
        return [vectors_of(text) for text in texts]

    files = opened(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        files.add(["a", "b", "two", "c"], encode, show_progress=False)
    again = opened(tmp_path)
    assert again.num_reused == 2
    assert holds(again, ["a", "b"])


@pytest.mark.parametrize("cut", [1, 10, 30, 60, 70, 1_000])
def test_a_list_that_was_cut_keeps_what_is_whole(kept, cut):
    path = kept / "vectors.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    num_whole = max(0, data[:-cut].count(b"\n") - 1)
    files = opened(kept)
    assert files.num_reused == num_whole
    encoder = Encoder()
    files.add(TEXTS, encoder, show_progress=False)
    assert encoder.seen == TEXTS[num_whole:]
    assert holds(opened(kept), TEXTS)


@pytest.mark.parametrize("change", [-1, -40, -155, 1, 200])
def test_vectors_that_were_cut_or_never_listed_are_dropped(kept, change):
    path = kept / "vectors.f32"
    data = path.read_bytes()
    path.write_bytes(data[:change] if change < 0 else data + b"x" * change)
    files = opened(kept)
    ends = np.cumsum([36, 36, 0, 84])
    expected = int((ends <= len(data) + change).sum())
    assert files.num_reused == expected
    files.add(TEXTS, Encoder(), show_progress=False)
    assert holds(opened(kept), TEXTS)


def test_vectors_without_a_list_are_dropped_and_the_reverse(kept):
    (kept / "vectors.jsonl").unlink()
    files = opened(kept)
    assert files.num_reused == 0
    assert (kept / "vectors.f32").stat().st_size == 0
    files.add(TEXTS, Encoder(), show_progress=False)
    (kept / "vectors.f32").unlink()
    assert opened(kept).num_reused == 0


@pytest.mark.parametrize(
    "changes", [{"width": 4}, {"made_from": {"fingerprint": "g"}}, {"made_from": {}}]
)
def test_what_was_made_from_something_else_is_dropped(kept, changes):
    assert opened(kept, **changes).num_reused == 0
    assert opened(kept).num_reused == 0  # the other ones have taken their place


@pytest.mark.parametrize("line", ["[", "{}", "[1, 2]", '["k", -1, "c"]', '[5, 1, "c"]', "\\xff"])
def test_a_line_that_is_none_ends_the_list(kept, line):
    path = kept / "vectors.jsonl"
    lines = path.read_bytes().split(b"\n")
    lines[2] = line.encode().decode("unicode_escape").encode("latin-1")
    path.write_bytes(b"\n".join(lines))
    files = opened(kept)
    assert files.num_reused == 1
    assert holds(files, ["one"])


def test_another_first_line_drops_all(kept):
    path = kept / "vectors.jsonl"
    lines = path.read_text().split("\n")
    lines[0] = json.dumps({**json.loads(lines[0]), "format": 0})
    path.write_text("\n".join(lines))
    assert opened(kept).num_reused == 0


def test_a_changed_byte_is_noticed(kept):
    path = kept / "vectors.f32"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    files = opened(kept)
    assert holds(files, ["one"])
    with pytest.raises(DamagedStoreError, match="not what was written, at byte 36"):
        files.read(["two"])


def test_vectors_that_are_no_numbers_are_refused(tmp_path):
    files = opened(tmp_path)
    with pytest.raises(NonFiniteScoreError, match="NaN or infinite vectors"):
        files.add(["x"], lambda texts: [np.full((1, WIDTH), np.nan)], show_progress=False)
    assert opened(tmp_path).num_reused == 0


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFileError, match=r"file.* cannot be read or written"):
        opened(tmp_path / "file")
