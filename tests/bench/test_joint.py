"""The cross-encoder computes what a whole encoder of its layers does."""

import dataclasses

import pytest
import torch

from kalm_reranker.bench.joint import JointEncoder
from kalm_reranker.bench.resources import Parameters
from kalm_reranker.bench.shapes import SHAPES
from kalm_reranker.model.config import ModelConfig
from kalm_reranker.model.encoder import Encoder

CONFIG = ModelConfig.from_dict(SHAPES["tiny-shape"].config())


def drawn(module):
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        std = 0.3 if parameter.ndim < 2 else parameter.shape[-1] ** -0.5
        with torch.no_grad():
            parameter.normal_(0, std, generator=generator)
    return module.eval()


@pytest.mark.parametrize("num_layers", [1, 3, 4, 6])  # the last layer sliding, or global
@pytest.mark.parametrize("length", [5, 13, 14, 60])  # within the window of 24, and beyond
def test_the_first_position_is_that_of_the_whole_encoder(num_layers, length):
    joint = drawn(JointEncoder(CONFIG, num_layers))
    kinds = CONFIG.encoder.layer_types
    whole = Encoder(
        dataclasses.replace(
            CONFIG.encoder,
            num_layers=num_layers,
            layer_types=tuple(kinds[layer % len(kinds)] for layer in range(num_layers)),
        ),
        CONFIG.eoi_token_id,
    )
    whole.embed_tokens = joint.encoder.embed_tokens
    whole.norm = joint.norm
    for ours, theirs in zip([*joint.encoder.layers, joint.last], whole.layers, strict=True):
        theirs.load_state_dict(ours.state_dict())
    token_ids = torch.randint(10, 1000, (3, length), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        states = whole(token_ids, torch.ones_like(token_ids, dtype=torch.bool))
        expected = joint.score(states[:, 0]).flatten()
        assert torch.allclose(joint(token_ids), expected, atol=1e-5)


def test_it_has_as_many_parameters_as_an_encoder_and_a_score():
    counts = Parameters.of(CONFIG)
    joint = JointEncoder(CONFIG, CONFIG.encoder.num_layers)
    found = sum(parameter.numel() for parameter in joint.parameters())
    assert found == counts.encoder + counts.embedding + CONFIG.encoder.hidden_width + 1
