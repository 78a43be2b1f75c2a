"""Random checkpoints of a shape are what this package and Transformers read."""

import torch
from safetensors.torch import load_file
from transformers import T5Gemma2ForConditionalGeneration
from transformers.utils import logging

from kalm_reranker import KaLMReranker
from kalm_reranker.bench.random_checkpoint import write_random_checkpoint
from kalm_reranker.bench.resources import Parameters
from kalm_reranker.bench.shapes import SHAPES, Shape
from kalm_reranker.checkpoints.bundled import bundled_checkpoint
from kalm_reranker.checkpoints.json_file import read_json_object
from kalm_reranker.checkpoints.known import KNOWN_MODELS
from kalm_reranker.model.config import ModelConfig

TINY = SHAPES["tiny-shape"]


def test_the_text_part_reaches_transformers_unchanged(tmp_path, monkeypatch):
    write_random_checkpoint(TINY, tmp_path, seed=0)
    stored = load_file(tmp_path / "model.safetensors")
    logging.set_verbosity_error()  # of the vision tower, which has no weights
    model, info = T5Gemma2ForConditionalGeneration.from_pretrained(
        tmp_path, output_loading_info=True, dtype=torch.float32
    )
    logging.set_verbosity_warning()
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert all("vision" in key or "multi_modal" in key for key in info["missing_keys"])
    layer = model.model.encoder.text_model.layers[1].mlp.up_proj.weight
    assert torch.equal(layer, stored["model.encoder.layers.1.mlp.up_proj.weight"])


def test_the_same_seed_gives_the_same_bytes_and_other_seeds_others(tmp_path):
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        folder = tmp_path / name
        folder.mkdir()
        write_random_checkpoint(TINY, folder, seed=seed)
        found.append((folder / "model.safetensors").read_bytes())
    assert found[0] == found[1] != found[2]


def test_tensors_larger_than_what_is_drawn_are_filled(tmp_path):
    shape = Shape(
        layers=1,
        width=128,
        mlp_width=64,
        query_heads=1,
        key_value_heads=1,
        head_width=16,
        vocab_size=40_000,  # 5.1 million values
        dtype="bfloat16",
    )
    write_random_checkpoint(shape, tmp_path, seed=0)
    table = load_file(tmp_path / "model.safetensors")["model.encoder.embed_tokens.weight"]
    assert table.dtype == torch.bfloat16
    spread = table.float().std(dim=1)
    assert 0.3 < float(spread.min()) < float(spread.max()) < 0.8  # 6 / sqrt(128) is 0.53


def test_margins_are_finite_and_differ(tmp_path):
    write_random_checkpoint(TINY, tmp_path, seed=0)
    reranker = KaLMReranker(tmp_path, dtype="float32")
    assert reranker.compression_ratio == TINY.ratio
    found = reranker.predict([("a", "water"), ("a", "stone and river")], return_margin=True)
    assert found[0].margin != found[1].margin


def test_shapes_have_the_sizes_of_the_known_models():
    for name in ("nano", "small", "large"):
        shape, known = SHAPES[f"{name}-shape"], KNOWN_MODELS[name]
        assert (shape.layers, shape.width, shape.mlp_width) == (
            known.layers,
            known.width,
            known.mlp,
        )
    pico = ModelConfig.from_dict(read_json_object(bundled_checkpoint().config_path))
    assert ModelConfig.from_dict(SHAPES["pico-shape"].config()) == pico


def test_parameters_are_the_published_ones():
    counts = {
        name: Parameters.of(ModelConfig.from_dict(SHAPES[f"{name}-shape"].config()))
        for name in ("nano", "small", "large")
    }
    # From the model cards, in millions, of the decoder.
    assert [round(one.decoder / 1e6) for one in counts.values()] == [100, 698, 3209]
    assert [round(one.embedding / 1e6) for one in counts.values()] == [168, 302, 671]
