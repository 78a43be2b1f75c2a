"""The fingerprint follows content, and its cache can only ever save time."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kalm_reranker.checkpoints import file_hash, model_fingerprint, resolve_checkpoint
from kalm_reranker.errors import InvalidCheckpointError
from tests.checkpoints.tiny_checkpoints import CONFIG, weights


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kalm-reranker" / "file-hashes.json"


@pytest.fixture
def hashed(monkeypatch):
    """The paths whose content was really read, in order."""
    paths = []
    original = file_hash.hashlib.file_digest

    def spy(file, name):
        paths.append(Path(file.name).name)
        return original(file, name)

    monkeypatch.setattr(file_hash.hashlib, "file_digest", spy)
    return paths


def fingerprint(directory):
    return model_fingerprint(resolve_checkpoint(directory))


@pytest.fixture
def later(monkeypatch):
    """Files written by the test look settled. Change times cannot be set, so the clock moves."""
    real = time.time_ns
    monkeypatch.setattr(file_hash.time, "time_ns", lambda: real() + 60 * 10**9)


def test_it_is_short_hex_and_stable(make_checkpoint):
    directory = make_checkpoint()
    first = fingerprint(directory)
    assert len(first) == 32
    assert set(first) <= set("0123456789abcdef")
    assert fingerprint(directory) == first


def test_it_ignores_name_and_place(make_checkpoint, tmp_path):
    directory = make_checkpoint()
    copy = shutil.copytree(directory, tmp_path / "elsewhere")
    assert fingerprint(copy) == fingerprint(directory)


def test_settings_are_not_part_of_it(make_checkpoint):
    plain = make_checkpoint("plain")
    with_settings = make_checkpoint("settings", settings={"template_version": 1, "max_length": 9})
    assert fingerprint(plain) == fingerprint(with_settings)


@pytest.mark.parametrize("file", ["tokenizer.json", "model.safetensors"])
def test_one_changed_byte_of_tokenizer_or_weights_counts(make_checkpoint, file, later):
    directory = make_checkpoint()
    before = fingerprint(directory)
    content = bytearray((directory / file).read_bytes())
    content[-1] ^= 1
    (directory / file).write_bytes(content)
    assert fingerprint(directory) != before


def test_a_change_that_keeps_size_and_modification_time_counts(make_checkpoint, later):
    directory = make_checkpoint()
    path = directory / "model.safetensors"
    stat = path.stat()
    before = fingerprint(directory)
    path.write_bytes(weights(2.0))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert fingerprint(directory) != before


def test_the_order_of_shards_counts(make_checkpoint):
    directory = make_checkpoint(num_shards=2)
    before = fingerprint(directory)
    first, second = sorted(directory.glob("*.safetensors"))
    swap = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(swap)
    assert fingerprint(directory) != before


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({"transformers_version": "9"}, False),
        ({"dtype": "float32"}, False),
        ({"encoder": CONFIG["encoder"] | {"vision_config": {"a": 2}}}, False),
        ({"encoder": {"text_config": CONFIG["encoder"]["text_config"] | {"dtype": "x"}}}, False),
        ({"decoder": CONFIG["decoder"] | {"use_cache": False}}, False),
        ({"encoder": CONFIG["encoder"] | {"eoi_token_index": 7}}, False),
        ({"encoder": CONFIG["encoder"] | {"eoi_token_index": 8}}, True),
        ({"eoi_token_index": 8}, True),
        ({"decoder": CONFIG["decoder"] | {"sliding_window": 4}}, True),
        ({"encoder": {"text_config": {"hidden_size": 4, "vocab_size": 3}}}, True),
        ({"encoder": 3}, True),
    ],
)
def test_only_what_the_model_computes_with_counts_in_the_config(make_checkpoint, change, matters):
    directory = make_checkpoint()
    before = fingerprint(directory)
    (directory / "config.json").write_text(json.dumps(CONFIG | change, indent=4))
    assert (fingerprint(directory) != before) is matters


def test_a_settled_file_is_read_once(make_checkpoint, hashed, later, cache):
    directory = make_checkpoint()
    first = fingerprint(directory)
    assert hashed == ["tokenizer.json", "model.safetensors"]
    assert fingerprint(directory) == first
    assert len(hashed) == 2
    assert len(json.loads(cache.read_text())["files"]) == 2


def test_a_file_that_just_changed_is_not_remembered(make_checkpoint, hashed, cache):
    directory = make_checkpoint()
    fingerprint(directory)
    fingerprint(directory)
    assert len(hashed) == 4
    assert not cache.exists()


def test_links_share_the_hash_of_their_target(make_checkpoint, tmp_path, hashed, later):
    directory = make_checkpoint()
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in directory.iterdir():
        (linked / path.name).symlink_to(path)
    assert fingerprint(directory) == fingerprint(linked)
    assert len(hashed) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"format": 1, "files": 3}',
        b'{"format": 99, "files": {}}',
        b"[" * 100_000,
    ],
)
def test_a_corrupt_cache_is_replaced(make_checkpoint, cache, content, later):
    directory = make_checkpoint()
    expected = fingerprint(directory)
    cache.write_bytes(content)
    assert fingerprint(directory) == expected
    assert json.loads(cache.read_bytes())["format"] == 1


@pytest.mark.parametrize("entry", [None, [], {"sha256": "0" * 64}, "0" * 64])
def test_corrupt_entries_are_not_believed(make_checkpoint, cache, entry, later):
    directory = make_checkpoint()
    expected = fingerprint(directory)
    content = json.loads(cache.read_bytes())
    content["files"] = dict.fromkeys(content["files"], entry)
    cache.write_text(json.dumps(content))
    assert fingerprint(directory) == expected


def test_a_hash_that_is_none_is_not_believed(make_checkpoint, cache, later):
    directory = make_checkpoint()
    expected = fingerprint(directory)
    content = json.loads(cache.read_bytes())
    for entry in content["files"].values():
        entry["sha256"] = "../../x"
    cache.write_text(json.dumps(content))
    assert fingerprint(directory) == expected


def test_an_unwritable_cache_only_costs_time(make_checkpoint, monkeypatch, tmp_path, later):
    directory = make_checkpoint()
    expected = fingerprint(directory)
    (tmp_path / "file").write_text("a file where a directory should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert fingerprint(directory) == expected


def test_a_relative_cache_home_is_ignored(make_checkpoint, monkeypatch, tmp_path, later):
    directory = make_checkpoint()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    fingerprint(directory)
    assert not (tmp_path / "relative").exists()
    assert (tmp_path / "home" / ".cache" / "kalm-reranker" / "file-hashes.json").is_file()


def test_the_cache_keeps_the_newest_entries(tmp_path, cache, monkeypatch, later):
    monkeypatch.setattr(file_hash, "_MAX_ENTRIES", 3)
    for i in range(5):
        (tmp_path / str(i)).write_text(str(i))
        file_hash.content_hash(tmp_path / str(i))
    assert [Path(key).name for key in json.loads(cache.read_text())["files"]] == ["2", "3", "4"]


def test_concurrent_writers_leave_a_readable_cache(tmp_path, cache, later):
    paths = [tmp_path / f"file{i}" for i in range(40)]
    for path in paths:
        path.write_text(path.name)
    with ThreadPoolExecutor(8) as pool:
        hashes = list(pool.map(file_hash.content_hash, paths))
    assert len(set(hashes)) == 40
    assert json.loads(cache.read_bytes())["format"] == 1
    assert [file_hash.content_hash(path) for path in paths] == hashes
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_two_processes_agree(tmp_path):
    program = (
        "from kalm_reranker.checkpoints import model_fingerprint, resolve_checkpoint\n"
        "print(model_fingerprint(resolve_checkpoint('pico')))"
    )
    command = [sys.executable, "-c", program]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert outputs == {model_fingerprint(resolve_checkpoint("pico"))}


def test_a_file_that_vanished_is_named(make_checkpoint):
    checkpoint = resolve_checkpoint(make_checkpoint())
    checkpoint.weight_files[0].unlink()
    with pytest.raises(InvalidCheckpointError, match=r"model\.safetensors cannot be read"):
        model_fingerprint(checkpoint)
