"""The blocked encoder against one that writes out every score and every mask."""

import resource
import sys

import pytest
import torch

from kalm_reranker.model import encoder as encoder_module
from kalm_reranker.model.config import RotaryConfig, StackConfig
from kalm_reranker.model.encoder import Encoder
from kalm_reranker.model.encoder_attention import BlockedAttention, PaddedAttention
from kalm_reranker.model.layers import rotary_tables

KERNELS = [BlockedAttention, PaddedAttention]


def random_encoder(
    *, window: int, query_heads: int = 4, key_heads: int = 1, layers: str = "sf", width: int = 64
) -> Encoder:
    config = StackConfig(
        hidden_width=width,
        mlp_width=96,
        num_layers=len(layers),
        num_query_heads=query_heads,
        num_key_value_heads=key_heads,
        head_width=16,
        vocab_size=1000,
        max_positions=131_072,
        sliding_window=window,
        layer_types=tuple("sliding" if layer == "s" else "full" for layer in layers),
        rotary={"sliding": RotaryConfig(theta=1e4), "full": RotaryConfig(theta=1e6)},
        attention_scale=0.3,  # no power of two
        attention_bias=False,
        norm_eps=1e-6,
        final_logit_softcap=None,
    )
    encoder = Encoder(config, eoi_token_id=999)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in encoder.named_parameters():
        std = 0.3 if "norm" in name else parameter.shape[-1] ** -0.5
        torch.nn.init.normal_(parameter, 0.0, std, generator=generator)
    return encoder.requires_grad_(False)


def states_written_out(encoder: Encoder, token_ids: torch.Tensor) -> torch.Tensor:
    """[S] -> [S, D], one passage alone, with loops and a full table of scores, in float64."""
    config = encoder.config
    hidden = encoder.embed_tokens(token_ids)  # [S, D]
    num_tokens = len(token_ids)
    distance = torch.arange(num_tokens) - torch.arange(num_tokens).unsqueeze(1)  # key - query
    window = config.sliding_window
    seen = (distance > -((window + 1) // 2)) & (distance <= window // 2)
    for layer, layer_type in zip(encoder.layers, config.layer_types, strict=True):
        rotary = rotary_tables(
            config.rotary[layer_type], num_tokens, config.head_width, like=hidden
        )
        normed = layer.pre_self_attn_layernorm(hidden).unsqueeze(0)
        queries = layer.self_attn.queries(normed, rotary)[0]
        keys, values = (heads[0] for heads in layer.self_attn.keys_values(normed, rotary))
        repeats = config.num_query_heads // config.num_key_value_heads
        mixed = []
        for head, query in enumerate(queries):
            scores = query.double() @ keys[head // repeats].double().T * config.attention_scale
            if layer_type == "sliding":
                scores = scores.masked_fill(~seen, -torch.inf)
            mixed.append(scores.softmax(-1) @ values[head // repeats].double())
        attended = layer.self_attn.o_proj(torch.cat(mixed, dim=-1).to(hidden.dtype))
        hidden = layer.add_attended(hidden, attended)
    return encoder.norm(hidden)


def use_kernel(monkeypatch, kernel) -> None:
    monkeypatch.setattr(
        encoder_module,
        "passage_attention",
        lambda rows, window, scale, _: kernel(*(rows, window, scale)),
    )


def batch_of(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    token_ids = torch.randint(0, 1000, (len(lengths), max(lengths)), generator=generator)
    return token_ids, torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)


def assert_states_as_written_out(encoder, lengths, *, atol=2e-5) -> None:
    token_ids, mask = batch_of(lengths)
    states = encoder(token_ids, mask)
    assert states.shape == (*token_ids.shape, encoder.config.hidden_width)
    for ids, got, length in zip(token_ids, states, lengths, strict=True):
        expected = states_written_out(encoder, ids[:length])
        torch.testing.assert_close(got[:length], expected, rtol=1e-4, atol=atol)
        assert (got[length:] == 0).all()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("window", [1, 2, 3, 24, 25, 96])
def test_lengths_around_the_windows_edges_in_one_batch(monkeypatch, kernel, window):
    use_kernel(monkeypatch, kernel)
    around = {
        edge + step
        for edge in (window // 2, (window + 1) // 2, window, 2 * window, 64, 128)
        for step in (-1, 0, 1)
    }
    lengths = sorted(length for length in around if length > 0)
    assert_states_as_written_out(random_encoder(window=window), [1, *lengths, 300])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("query_heads", "key_heads"), [(1, 1), (2, 2), (4, 2), (8, 1), (6, 2)])
def test_heads_in_groups(monkeypatch, kernel, query_heads, key_heads):
    use_kernel(monkeypatch, kernel)
    encoder = random_encoder(window=24, query_heads=query_heads, key_heads=key_heads)
    assert_states_as_written_out(encoder, [200, 7, 81])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("lengths", [[130] * 3, [700], [1500, 1, 40]], ids=str)
def test_equal_lengths_one_passage_and_very_different_lengths(monkeypatch, kernel, lengths):
    use_kernel(monkeypatch, kernel)
    assert_states_as_written_out(random_encoder(window=25, layers="ssf"), lengths)


def test_rows_in_several_runs(monkeypatch):
    monkeypatch.setattr(encoder_module, "_ROWS_AT_ONCE", 50)
    assert_states_as_written_out(random_encoder(window=24), [120, 49, 1, 51])


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_passage_does_not_see_its_neighbours_or_the_padding(monkeypatch, kernel):
    use_kernel(monkeypatch, kernel)
    encoder = random_encoder(window=24)
    lengths = [90, 40, 65]
    token_ids, mask = batch_of(lengths)
    states = encoder(token_ids, mask)
    others = token_ids.clone()
    others[0] = 7
    others[2] = 8
    others[~mask] = 999
    assert torch.equal(encoder(others, mask)[1], states[1])


def test_gradients_reach_every_parameter():
    encoder = random_encoder(window=24, key_heads=2).requires_grad_(True)
    token_ids, mask = batch_of([100, 30])
    token_ids[0, 0] = 999
    encoder(token_ids, mask).square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in kilobytes")
def test_memory_of_a_long_passage_grows_with_its_length_not_with_its_square():
    encoder = random_encoder(window=512, layers="ss")
    token_ids, mask = batch_of([40_000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    states = encoder(token_ids, mask)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert torch.isfinite(states).all()
    # A single [S, S] mask of bytes would take 1,600 MB; states [S, D] in float32 take 10 MB.
    assert grown_mb < 300, f"{grown_mb:.0f} MB"
