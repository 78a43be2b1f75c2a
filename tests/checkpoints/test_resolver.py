"""What the user calls a model, and what that finds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kalm_reranker.checkpoints import KNOWN_MODELS, is_on_disk, resolve_checkpoint
from kalm_reranker.checkpoints.known import known_by_hub_id
from kalm_reranker.checkpoints.on_disk import size_on_disk_bytes
from kalm_reranker.errors import (
    CheckpointNotFoundError,
    InvalidCheckpointError,
    InvalidOptionError,
    KalmRerankerError,
)


def test_pico_is_bundled_and_complete():
    checkpoint = resolve_checkpoint("pico")
    assert (checkpoint.name, checkpoint.source) == ("pico", "bundled")
    assert checkpoint.settings.trained_ratios == KNOWN_MODELS["pico"].trained_ratios
    assert checkpoint.settings.system_instruction == ""
    assert checkpoint.settings.query_max_length == 26
    assert checkpoint.settings.blend_with_first_stage
    assert is_on_disk(KNOWN_MODELS["pico"])
    weights_bytes = checkpoint.weight_files[0].stat().st_size
    assert weights_bytes < size_on_disk_bytes(KNOWN_MODELS["pico"]) < weights_bytes + 1_000_000


def test_bundled_files_are_readable_by_everyone():
    for path in resolve_checkpoint("pico").directory.iterdir():
        assert path.stat().st_mode & 0o444 == 0o444, path


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_directory(make_checkpoint, as_type):
    directory = make_checkpoint("my-model")
    checkpoint = resolve_checkpoint(as_type(directory))
    assert (checkpoint.name, checkpoint.source) == ("my-model", "local")
    assert checkpoint.directory == directory


def test_a_relative_directory_stays_valid_elsewhere(make_checkpoint, monkeypatch, tmp_path):
    directory = make_checkpoint("nano")
    monkeypatch.chdir(tmp_path)
    assert resolve_checkpoint("./nano").directory == directory
    assert resolve_checkpoint(Path("nano")).directory == directory
    monkeypatch.chdir(directory)
    assert resolve_checkpoint(".").name == "nano"


def test_the_home_directory_is_expanded(make_checkpoint, monkeypatch, tmp_path):
    make_checkpoint("model")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_checkpoint("~/model").name == "model"


def test_a_directory_that_looks_like_a_hub_id_wins(make_checkpoint, monkeypatch, tmp_path):
    (tmp_path / "organisation").mkdir()
    directory = make_checkpoint("organisation/model")
    monkeypatch.chdir(tmp_path)
    assert resolve_checkpoint("organisation/model").directory == directory


def test_a_directory_without_a_checkpoint(tmp_path):
    with pytest.raises(InvalidCheckpointError, match="is no complete checkpoint"):
        resolve_checkpoint(tmp_path)


def test_a_file(make_checkpoint):
    path = make_checkpoint() / "model.safetensors"
    with pytest.raises(CheckpointNotFoundError, match=r"is a file; a local model is a directory"):
        resolve_checkpoint(path)


@pytest.mark.parametrize("typo", ["nanoo", "Nano", "KaLM-Reranker-V1-Nano"])
def test_an_unknown_name_lists_the_known_and_the_close_ones(typo):
    with pytest.raises(CheckpointNotFoundError) as caught:
        resolve_checkpoint(typo)
    assert f"no model {typo!r}" in str(caught.value)
    assert "Known names: pico, nano, small, large, nano-r2" in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)


def test_a_close_name_is_suggested():
    with pytest.raises(CheckpointNotFoundError, match="Did you mean 'small'"):
        resolve_checkpoint("smal")


@pytest.mark.parametrize(
    "name",
    [
        "/no/such/dir",
        "./none",
        "../none",
        "a/b/c",
        "a b/c",
        "a/b--c",
        "a/b..c",
        "a/b-",
        "-a/b",
        "a" * 5000,
        "a\0b",
        "org/",
        "/",
    ],
)
def test_what_can_be_neither_name_nor_directory_nor_hub_id(name):
    with pytest.raises(KalmRerankerError):
        resolve_checkpoint(name)


def test_a_path_object_is_never_a_name():
    with pytest.raises(CheckpointNotFoundError, match="There is no directory 'pico'"):
        resolve_checkpoint(Path("pico"))


@pytest.mark.parametrize("model", ["", None, 3, b"pico"])
def test_what_is_no_text_is_refused(model):
    with pytest.raises(InvalidOptionError, match="model must be a short name"):
        resolve_checkpoint(model)


def test_a_revision_needs_the_hub(make_checkpoint):
    for model in ("pico", make_checkpoint()):
        with pytest.raises(InvalidOptionError, match=r"revision must be None .*; got 'main'"):
            resolve_checkpoint(model, revision="main")


@pytest.mark.parametrize("options", [{"revision": 3}, {"cache_dir": 3}])
def test_options_of_the_wrong_type_are_refused(options):
    with pytest.raises(InvalidOptionError, match="got 3"):
        resolve_checkpoint("organisation/name", **options)


def test_known_models_have_the_published_shapes():
    names = ["pico", "nano", "small", "large", "nano-r2", "small-r2", "large-r2"]
    assert list(KNOWN_MODELS) == names
    shapes = {m.name: (m.layers, m.width, m.mlp) for m in KNOWN_MODELS.values()}
    assert shapes["nano"] == shapes["nano-r2"] == (18, 640, 2048)
    assert shapes["small"] == shapes["small-r2"] == (26, 1152, 6912)
    assert shapes["large"] == shapes["large-r2"] == (34, 2560, 10240)
    assert KNOWN_MODELS["nano"].hub_id == "KaLM-Embedding/KaLM-Reranker-V1-Nano"
    assert KNOWN_MODELS["large-r2"].hub_id == "KaLM-Embedding/KaLM-Reranker-V1-Large-R2"
    assert KNOWN_MODELS["nano"].trained_ratios[-1] == 32
    assert KNOWN_MODELS["nano-r2"].trained_ratios[-1] == 128
    assert known_by_hub_id("kalm-embedding/kalm-reranker-v1-small") is KNOWN_MODELS["small"]
    assert known_by_hub_id("a/b") is None


def test_resolving_the_bundled_model_imports_neither_torch_nor_the_hub_library():
    program = (
        "import sys\n"
        "from kalm_reranker.checkpoints import resolve_checkpoint, model_fingerprint\n"
        "model_fingerprint(resolve_checkpoint('pico'))\n"
        "heavy = {'torch', 'huggingface_hub', 'numpy', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ, timeout=60)
