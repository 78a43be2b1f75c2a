"""A directory becomes a checkpoint, or an error that names what is wrong with it."""

import json
import os

import pytest

from kalm_reranker.checkpoints.checkpoint import checkpoint_from_directory, shard_names
from kalm_reranker.errors import InvalidCheckpointError


def load(directory):
    return checkpoint_from_directory(directory, name="test", source="local")


def test_single_file(make_checkpoint):
    directory = make_checkpoint()
    checkpoint = load(directory)
    assert checkpoint.config_path == directory / "config.json"
    assert checkpoint.tokenizer_path == directory / "tokenizer.json"
    assert checkpoint.weight_files == (directory / "model.safetensors",)
    assert (checkpoint.name, checkpoint.source, checkpoint.revision) == ("test", "local", None)


def test_shards_are_those_of_the_index_sorted_by_name(make_checkpoint):
    directory = make_checkpoint(num_shards=3)
    (directory / "model-00009-of-00009.safetensors").write_bytes(b"not listed")
    names = [path.name for path in load(directory).weight_files]
    assert names == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]


def test_a_single_file_is_preferred_to_shards(make_checkpoint):
    directory = make_checkpoint(num_shards=2)
    (directory / "model.safetensors").write_bytes(b"whole")
    assert [path.name for path in load(directory).weight_files] == ["model.safetensors"]


def test_files_may_be_links(make_checkpoint, tmp_path):
    directory = make_checkpoint(num_shards=2)
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in directory.iterdir():
        (linked / path.name).symlink_to(path)
    assert len(load(linked).weight_files) == 2


def test_all_missing_files_are_named(tmp_path):
    with pytest.raises(InvalidCheckpointError) as caught:
        load(tmp_path)
    for name in ("config.json", "tokenizer.json", "model.safetensors", "index.json"):
        assert name in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_missing_shards_are_named(make_checkpoint):
    gone = "model-00002-of-00003.safetensors"
    directory = make_checkpoint(num_shards=3, without=(gone, "tokenizer.json"))
    with pytest.raises(InvalidCheckpointError, match=f"missing: tokenizer.json, {gone}"):
        load(directory)


def test_a_dangling_link_counts_as_missing(make_checkpoint):
    directory = make_checkpoint(without=("model.safetensors",))
    (directory / "model.safetensors").symlink_to(directory / "gone")
    with pytest.raises(InvalidCheckpointError, match=r"missing: model\.safetensors"):
        load(directory)


def test_pickled_weights_are_refused(make_checkpoint):
    directory = make_checkpoint(without=("model.safetensors",))
    (directory / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    with pytest.raises(InvalidCheckpointError, match="only safetensors are read"):
        load(directory)


@pytest.mark.parametrize("file", ["tokenizer.json", "model.safetensors"])
def test_git_lfs_pointers_are_recognised(make_checkpoint, file):
    directory = make_checkpoint()
    (directory / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(InvalidCheckpointError, match=rf"{file} is a Git LFS pointer.*git lfs pull"):
        load(directory)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,', r"config\.json is not valid JSON: line 1, column 9"),
        (b"", r"config\.json is not valid JSON: line 1, column 1"),
        (b"[1]", r"config\.json must hold a JSON object; got list"),
        (b'{"a": "\xff"}', r"config\.json is not valid UTF-8: byte 7"),
        (b'{"a":' + b"[" * 100_000, r"config\.json nests JSON values too deeply"),
    ],
)
def test_broken_json_names_file_and_position(make_checkpoint, content, message):
    directory = make_checkpoint()
    (directory / "config.json").write_bytes(content)
    with pytest.raises(InvalidCheckpointError, match=message):
        load(directory)


def test_a_truncated_index_names_file_and_position(make_checkpoint):
    directory = make_checkpoint(num_shards=2)
    index = directory / "model.safetensors.index.json"
    index.write_bytes(index.read_bytes()[:-5])
    with pytest.raises(InvalidCheckpointError, match=r"index\.json is not valid JSON: line 1, col"):
        load(directory)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_an_unreadable_file_is_named(make_checkpoint):
    directory = make_checkpoint()
    (directory / "config.json").chmod(0)
    with pytest.raises(InvalidCheckpointError, match=r"config\.json cannot be read"):
        load(directory)


@pytest.mark.parametrize("weight_map", [None, {}, [], "model.safetensors", 3])
def test_an_index_needs_a_weight_map(tmp_path, weight_map):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(InvalidCheckpointError, match="weight_map must be a non-empty object"):
        shard_names(index)


@pytest.mark.parametrize(
    "name",
    [
        "../model.safetensors",
        "../../../etc/passwd",
        "/etc/passwd",
        "/tmp/model.safetensors",
        "sub/model.safetensors",
        "..\\model.safetensors",
        "C:model.safetensors",
        "..",
        ".",
        "",
        ".hidden.safetensors",
        "model.bin",
        "model.safetensors\n",
        "mo\x00del.safetensors",
        None,
        5,
        ["model.safetensors"],
    ],
)
def test_an_index_may_list_only_plain_file_names(make_checkpoint, name):
    directory = make_checkpoint(num_shards=2)
    index = directory / "model.safetensors.index.json"
    content = json.loads(index.read_bytes())
    content["weight_map"]["another"] = name
    index.write_text(json.dumps(content))
    with pytest.raises(InvalidCheckpointError, match=r"weight_map\['another'\] must be the plain"):
        load(directory)
