"""The encoder's states against the reference's, at lengths where attention is cut into blocks."""

import pytest
import torch
from transformers import T5Gemma2ForConditionalGeneration

from kalm_reranker import KaLMReranker
from tests.parity.random_checkpoints import FULL, LINEAR_SCALING, SLIDING, TINY, build_checkpoint

# Blocks of 64 and 256 queries (encoder_attention.py); windows of 24 and 25 tokens.
LENGTHS = [1, 2, 12, 13, 14, 24, 25, 26, 63, 64, 65, 127, 129, 255, 257, 600]
WINDOWS = {"even": 24, "odd": 25}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """By window: the directory, and the reference in float32 and in bfloat16."""
    made = {}
    for name, window in WINDOWS.items():
        directory = build_checkpoint(
            tmp_path_factory.mktemp(name),
            seed=6,
            **{
                **TINY,
                "sliding_window": window,
                "layer_types": [SLIDING, SLIDING, FULL, SLIDING],
                "rope_parameters": LINEAR_SCALING,
            },
        )
        made[name] = (
            directory,
            {
                dtype: T5Gemma2ForConditionalGeneration.from_pretrained(directory, dtype=dtype)
                .eval()
                .get_encoder()
                for dtype in (torch.float32, torch.bfloat16)
            },
        )
    return made


def batch_of(lengths):
    generator = torch.Generator().manual_seed(2)
    token_ids = torch.randint(5, 20_000, (len(lengths), max(lengths)), generator=generator)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    return token_ids.masked_fill(~mask, 0), mask


@torch.inference_mode()
def their_states(model, token_ids, mask):
    hidden = model(input_ids=token_ids, attention_mask=mask.long()).last_hidden_state
    return hidden.float()[mask]


@torch.inference_mode()
def our_states(directory, dtype, token_ids, mask):
    model = KaLMReranker(directory, dtype=dtype, device="cpu")._pipeline.model
    states = model.model.encoder(token_ids, mask)
    assert states.dtype == dtype
    return states.float()[mask]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    "lengths", [LENGTHS, [300] * 3, [1500], [900, 3, 40]], ids=["many", "equal", "one", "unlike"]
)
def test_float32_states_equal_the_reference(models, window, lengths):
    directory, theirs = models[window]
    batch = batch_of(lengths)
    expected = their_states(theirs[torch.float32], *batch)
    ours = our_states(directory, torch.float32, *batch)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("lengths", [LENGTHS, [1500]], ids=["many", "one"])
def test_bfloat16_errors_are_within_twice_the_reference(models, window, lengths):
    directory, theirs = models[window]
    batch = batch_of(lengths)
    exact = their_states(theirs[torch.float32], *batch)
    their_error = (their_states(theirs[torch.bfloat16], *batch) - exact).abs()
    our_error = (our_states(directory, torch.bfloat16, *batch) - exact).abs()
    assert our_error.max() <= 2 * their_error.max()
    assert our_error.mean() <= 2 * their_error.mean()
