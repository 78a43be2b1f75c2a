"""Files are written whole, or not at all."""

import os
import stat

import pytest

from kalm_reranker.errors import DataFileError, StoreWriteError
from kalm_reranker.whole_files import write_whole


def test_a_file_is_made_with_its_folder_and_replaced(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_whole(path, b"one")
    write_whole(path, b"other")
    assert path.read_bytes() == b"other"
    assert list(path.parent.iterdir()) == [path]


def test_a_name_of_the_longest_kind_can_be_written(tmp_path):
    path = tmp_path / ("n" * 255)
    write_whole(path, b"content")
    assert path.read_bytes() == b"content"


def test_others_may_read_it_as_far_as_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_what_was_there_stays_where_writing_fails(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    (place / "inside").write_text("before")
    with pytest.raises(DataFileError, match="place cannot be written") as raised:
        write_whole(place, b"content")  # a folder that is not empty
    assert raised.value.hint
    assert [entry.name for entry in tmp_path.iterdir()] == ["place"]
    assert (place / "inside").read_text() == "before"
    with pytest.raises(DataFileError, match="No such file"):
        write_whole(tmp_path / "missing" / "file", b"", make_folder=False)
    with pytest.raises(StoreWriteError, match="file cannot be written"):
        write_whole(place / "inside" / "file", b"", error=StoreWriteError)
