import os
import socket
import sys

import pytest

from kalm_reranker.errors import DataFileError
from kalm_reranker.index.sources.open import open_source
from kalm_reranker.store.passage import Passage
from tests.index.sources.reading import pairs, read, read_all, write

is_root = hasattr(os, "geteuid") and os.geteuid() == 0


def test_text_files_are_read_in_the_order_of_their_paths(tmp_path):
    for name in ["b.txt", "a/x.md", "a.txt", "a-b.markdown", "a/y/z.TXT", "Z.txt", "ä.txt"]:
        write(tmp_path / name, f" {name}\r\n")
    write(tmp_path / "data.bin", b"\xff")
    write(tmp_path / "page.html", "<p>")
    found = pairs(read_all(tmp_path))
    ids = [name for name, _ in found]
    assert ids == ["Z.txt", "a-b.markdown", "a.txt", "a/x.md", "a/y/z.TXT", "b.txt", "ä.txt"]
    assert ids == sorted(ids)
    assert found[0][1] == " Z.txt\r\n"
    source = open_source(str(tmp_path))
    assert source.count() == 7
    assert source.name == str(tmp_path)


def test_an_empty_folder(tmp_path):
    assert read_all(tmp_path) == []
    assert open_source(str(tmp_path)).count() == 0


def test_a_byte_order_mark_is_left_out_and_an_empty_file_is_a_passage(tmp_path):
    write(tmp_path / "a.txt", "\ufeffx")
    write(tmp_path / "b.txt", "")
    assert read_all(tmp_path) == [Passage("a.txt", "x"), Passage("b.txt", "")]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    root = tmp_path / ".hidden"
    for name in [".a.txt", ".git/b.txt", "c.txt"]:
        write(root / name, "x")
    assert pairs(read_all(root)) == [("c.txt", "x")]


def test_files_that_are_no_text_are_problems(tmp_path):
    write(tmp_path / "a.txt", b"\xef\xbb\xbfcaf\xe9 au lait")
    write(tmp_path / "b.txt", b"a\0b")
    write(tmp_path / "c.txt", "x".encode("utf-16"))
    write(tmp_path / "d.txt", "good")
    passages, messages, places = read(tmp_path)
    assert pairs(passages) == [("d.txt", "good")]
    assert places == [str(tmp_path / name) for name in ("a.txt", "b.txt", "c.txt")]
    assert messages[0].startswith(f"{places[0]}: expected UTF-8 text; byte 0xe9 at offset 6")
    assert "got a NUL at character 2" in messages[1]
    assert "byte 0xff at offset 0" in messages[2]


def test_folders_in_a_circle_are_read_once(tmp_path):
    root = tmp_path / "root"
    write(root / "sub" / "a.txt", "a")
    (root / "sub" / "up").symlink_to(root)
    (root / "sub" / "self").symlink_to(root / "sub")
    (root / "zweit").symlink_to("sub")
    assert pairs(read_all(root)) == [("sub/a.txt", "a")]
    assert open_source(str(root)).count() == 1


def test_links_are_followed(tmp_path):
    write(tmp_path / "elsewhere" / "a.txt", "a")
    root = tmp_path / "root"
    write(root / "b.txt", "b")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "c.txt").symlink_to(tmp_path / "elsewhere" / "a.txt")
    assert pairs(read_all(root)) == [("b.txt", "b"), ("c.txt", "a"), ("link/a.txt", "a")]


def test_links_that_lead_nowhere_are_problems(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "nothing")
    (tmp_path / "b.txt").symlink_to("b.txt")
    (tmp_path / ".hidden").symlink_to("nothing")
    write(tmp_path / "c.txt", "c")
    passages, messages, places = read(tmp_path)
    assert pairs(passages) == [("c.txt", "c")]
    assert places == [str(tmp_path / "a"), str(tmp_path / "b.txt")]
    assert "cannot be read: No such file or directory. Hint: Mend it" in messages[0]
    assert "cannot be read: Too many levels of symbolic links" in messages[1]
    assert open_source(str(tmp_path)).count() == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_neither_file_nor_folder_is_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "device.txt").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.txt")
        write(tmp_path / "z.txt", "z")
        assert pairs(read_all(tmp_path)) == [("z.txt", "z")]


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_names_that_are_no_utf8_are_problems(tmp_path):
    odd = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(odd)
    for path in (odd + b"/a.txt", odd + b".txt", os.fsencode(tmp_path / "good.txt")):
        with open(path, "wb") as file:
            file.write(b"x")
    passages, messages, places = read(tmp_path)
    assert pairs(passages) == [("good.txt", "x")]
    assert places == [str(tmp_path / name) for name in (r"caf\udce9.txt", r"caf\udce9/a.txt")]
    assert "expected a path in UTF-8" in messages[0]
    assert "Rename the file or the folder" in messages[1]
    for text in (*messages, *places):
        text.encode("utf-8")
    assert pairs(read_all(os.fsdecode(odd))) == [("a.txt", "x")]


@pytest.mark.skipif(is_root, reason="root reads everything")
def test_files_and_folders_without_permission_are_problems(tmp_path):
    locked = write(tmp_path / "a.txt", "x")
    locked.chmod(0)
    write(tmp_path / "closed" / "b.txt", "x")
    (tmp_path / "closed").chmod(0)
    write(tmp_path / "c.txt", "c")
    try:
        passages, messages, places = read(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert pairs(passages) == [("c.txt", "c")]
    assert places == [str(locked), str(tmp_path / "closed")]
    assert all("Permission denied" in message for message in messages)


@pytest.mark.skipif(is_root, reason="root reads everything")
def test_a_folder_without_permission_ends_the_source(tmp_path):
    root = tmp_path / "root"
    root.mkdir(mode=0)
    source = open_source(str(root), format="folder")
    assert source.count() is None
    with pytest.raises(DataFileError, match="cannot be read: Permission denied"):
        list(source)


def test_a_folder_that_vanishes_ends_the_source(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    source = open_source(str(root))
    root.rmdir()
    assert source.count() is None
    with pytest.raises(DataFileError, match="cannot be read: No such file"):
        list(source)


def test_a_file_that_vanishes_while_the_folder_is_read_is_a_problem(tmp_path):
    write(tmp_path / "a.txt", "a")
    later = write(tmp_path / "b.txt", "b")
    records = iter(open_source(str(tmp_path)))
    assert next(records) == Passage("a.txt", "a")
    later.unlink()
    (problem,) = records
    assert problem.where == str(later)
    assert "No such file" in problem.error.message


@pytest.fixture
def deep_folder(tmp_path, monkeypatch):
    """A folder with 1,500 folders in each other, removed step by step: rmtree would recurse."""
    monkeypatch.chdir(tmp_path)
    depth = 1500
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    with open("a.txt", "w"):
        pass
    yield tmp_path, "d/" * depth + "a.txt"
    os.unlink("a.txt")
    for _ in range(depth):
        os.chdir("..")
        os.rmdir("d")


def test_folders_nested_deeper_than_python_calls(deep_folder):
    root, path = deep_folder
    assert [passage.id for passage in read_all(root)] == [path]
