"""Checkpoints that must load, and damaged ones that must be refused by name."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from kalm_reranker.checkpoints.bundled import bundled_checkpoint
from kalm_reranker.errors import InvalidCheckpointError
from kalm_reranker.model.config import ModelConfig
from kalm_reranker.model.weights import load_model

PICO = bundled_checkpoint()
CONFIG = ModelConfig.from_dict(json.loads(PICO.config_path.read_text()))
EMBEDDING = "model.encoder.text_model.embed_tokens.weight"


@pytest.fixture(scope="module")
def tensors():
    return load_file(PICO.weight_files[0])


def load(*files, dtype=torch.bfloat16):
    return load_model(CONFIG, files, dtype=dtype, device=torch.device("cpu"))


def saved(path, tensors):
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return path


def assert_same(model, other):
    theirs = other.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


def test_parameter_names_are_the_checkpoints(tensors):
    names = {name.replace("encoder.text_model.", "encoder.") for name in tensors}
    assert set(load(*PICO.weight_files).state_dict()) == names


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_arrive_in_the_wanted_dtype(dtype):
    model = load(*PICO.weight_files, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    assert_same(model, load(*PICO.weight_files).to(dtype))


def test_shards_load_like_one_file(tmp_path, tensors):
    names = sorted(tensors)
    shards = [
        saved(tmp_path / f"{i}.safetensors", {name: tensors[name] for name in names[i::3]})
        for i in range(3)
    ]
    assert_same(load(*shards), load(*PICO.weight_files))


def test_vision_tensors_are_skipped_whatever_they_are(tmp_path, tensors):
    extra = {
        "model.encoder.vision_tower.embeddings.patch_embedding.weight": torch.zeros(3, 5).int(),
        "model.encoder.multi_modal_projector.mm_soft_emb_norm.weight": torch.zeros(2),
    }
    assert_same(load(saved(tmp_path / "x.safetensors", tensors | extra)), load(*PICO.weight_files))


@pytest.mark.parametrize("copy", ["lm_head.out_proj.weight", "model.decoder.embed_tokens.weight"])
def test_tied_copies_may_be_there_too_or_instead(tmp_path, tensors, copy):
    both = saved(tmp_path / "both.safetensors", {**tensors, copy: tensors[EMBEDDING]})
    assert_same(load(both), load(*PICO.weight_files))
    instead = {copy if name == EMBEDDING else name: t for name, t in tensors.items()}
    assert_same(load(saved(tmp_path / "x.safetensors", instead)), load(*PICO.weight_files))


def test_a_missing_tensor_is_named(tmp_path, tensors):
    name = "model.decoder.layers.3.mlp.up_proj.weight"
    rest = {key: tensor for key, tensor in tensors.items() if key != name}
    with pytest.raises(InvalidCheckpointError, match=f"lacks 1 tensors .*{name}"):
        load(saved(tmp_path / "x.safetensors", rest))


def test_many_missing_tensors_are_counted(tmp_path, tensors):
    with pytest.raises(InvalidCheckpointError, match=r"lacks 159 tensors .* and 154 more"):
        load(saved(tmp_path / "x.safetensors", {EMBEDDING: tensors[EMBEDDING]}))


def test_an_unexpected_tensor_is_named(tmp_path, tensors):
    extra = {"model.decoder.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(1)}
    with pytest.raises(InvalidCheckpointError, match=r"holds 1 tensors .*lora_A"):
        load(saved(tmp_path / "x.safetensors", tensors | extra))


def test_a_wrongly_shaped_tensor_is_named(tmp_path, tensors):
    name = "model.decoder.norm.weight"
    with pytest.raises(InvalidCheckpointError, match=rf"{name}.* has shape \[255\]; .*\[256\]"):
        load(saved(tmp_path / "x.safetensors", {**tensors, name: tensors[name][:255]}))


def test_quantised_tensors_are_refused(tmp_path, tensors):
    name = "model.decoder.norm.weight"
    with pytest.raises(InvalidCheckpointError, match=f"{name}.* has dtype I8; allowed are"):
        load(saved(tmp_path / "x.safetensors", {**tensors, name: tensors[name].to(torch.int8)}))


def test_one_parameter_under_two_names_is_refused(tmp_path, tensors):
    other = {EMBEDDING.replace("text_model.", ""): tensors[EMBEDDING]}
    with pytest.raises(InvalidCheckpointError, match="stands for the same parameter as"):
        load(saved(tmp_path / "x.safetensors", tensors | other))


@pytest.mark.parametrize("keep", [0, 7, 100, 20_000, 30_000_000])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "model.safetensors"
    path.write_bytes(PICO.weight_files[0].read_bytes()[:keep])
    with pytest.raises(InvalidCheckpointError, match="cannot be read as safetensors"):
        load(path)


def test_a_file_that_disappears_afterwards_does_not_matter(tmp_path, tensors):
    path = saved(tmp_path / "x.safetensors", tensors)
    model = load(path)  # same dtype as on disk: a lazy loader would still be mapping the file
    path.write_bytes(b"")
    assert_same(model, load(*PICO.weight_files))
