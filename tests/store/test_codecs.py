"""Slots survive the way into bytes and back, within the error that their codec allows."""

import pytest
import torch

from kalm_reranker.errors import InvalidOptionError, NonFiniteScoreError
from kalm_reranker.store.codecs import check_finite_slots, codec_named, default_codec

NAMES = ["float32", "bf16", "int8", "int4"]
WIDTHS = [1, 2, 31, 32, 33, 64, 640]


def largest_error(name, slots):
    """What a codec may be off by, for each value."""
    if name == "float32":
        return torch.zeros_like(slots)
    if name == "bf16":
        return slots.abs() * 2**-8 + 1e-40
    if name == "int8":  # half a step of the slot's scale
        return (slots.abs().amax(1, keepdim=True) / 127 / 2 * 1.001 + 1e-40).expand_as(slots)
    padded = torch.nn.functional.pad(slots, (0, -slots.shape[1] % 32))
    scale = padded.view(len(slots), -1, 32).abs().amax(2, keepdim=True) / 8 * 1.01
    # A whole step where the far end of the other sign is cut off at 7.
    errors = (scale + 1e-40).expand(-1, -1, 32).reshape(padded.shape)
    return errors[:, : slots.shape[1]]


def round_trip(name, slots, dtype=torch.float32):
    codec = codec_named(name)
    rows = codec.encode(slots)
    assert rows.dtype == torch.uint8
    assert rows.shape == (len(slots), codec.slot_bytes(slots.shape[1]))
    return codec.decode(rows, slots.shape[1], dtype)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e4, 1e37])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_decoded_slots_are_as_near_as_the_codec_promises(name, width, scale):
    slots = torch.randn(9, width, generator=torch.Generator().manual_seed(width)) * scale
    decoded = round_trip(name, slots)
    assert decoded.shape == slots.shape
    assert bool(((decoded - slots).abs() <= largest_error(name, slots)).all())


@pytest.mark.parametrize("name", NAMES)
def test_zeros_stay_zeros(name):
    assert torch.equal(round_trip(name, torch.zeros(3, 33)), torch.zeros(3, 33))
    mixed = torch.cat([torch.zeros(1, 40), torch.ones(1, 40)])
    assert torch.equal(round_trip(name, mixed)[0], mixed[0])


@pytest.mark.parametrize("name", NAMES)
def test_values_too_small_to_scale_do_not_become_large(name):
    slots = torch.full((2, 32), 1e-45)
    assert float(round_trip(name, slots).abs().max()) < 1e-37


@pytest.mark.parametrize("name", NAMES)
def test_one_large_value_does_not_spill_into_other_slots(name):
    slots = torch.ones(2, 64)
    slots[0, 5] = 1e30
    decoded = round_trip(name, slots)
    assert torch.allclose(decoded[1], slots[1], rtol=0.01)
    assert decoded[0, 5] == pytest.approx(1e30, rel=0.01)


def test_int4_groups_do_not_share_a_scale():
    slots = torch.cat([torch.full((1, 32), 1000.0), torch.full((1, 32), 0.001)], 1)
    assert torch.allclose(round_trip("int4", slots), slots, rtol=0.01)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_farthest_value_of_an_int4_group_is_kept_whatever_its_sign(sign):
    slots = torch.zeros(1, 32)
    slots[0, 7] = sign * 8.0
    assert torch.equal(round_trip("int4", slots), slots)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_no_slots_are_no_trouble(name, dtype):
    for width in (4, 33):
        decoded = round_trip(name, torch.empty(0, width), dtype)
        assert decoded.shape == (0, width)
        assert decoded.dtype == dtype


@pytest.mark.parametrize("name", NAMES)
def test_a_slot_is_written_alike_whatever_stands_beside_it(name):
    slots = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    rows = codec_named(name).encode(slots)
    for index in range(5):
        assert torch.equal(codec_named(name).encode(slots[index : index + 1])[0], rows[index])


@pytest.mark.parametrize("name", ["float32", "bf16"])
def test_a_models_own_dtype_loses_nothing(name):
    dtype = {"float32": torch.float32, "bf16": torch.bfloat16}[name]
    slots = torch.randn(5, 40, generator=torch.Generator().manual_seed(1)).to(dtype)
    assert default_codec(dtype) == name
    assert torch.equal(round_trip(name, slots, dtype), slots)


def test_the_layout_is_the_one_that_is_specified():
    slots = torch.tensor([[1.0, -127.0]])
    assert bytes(codec_named("int8").encode(slots)[0].numpy()) == b"\x00\x00\x80\x3f\x01\x81"
    assert (
        bytes(codec_named("float32").encode(slots)[0].numpy())
        == b"\x00\x00\x80\x3f\x00\x00\xfe\xc2"
    )
    assert bytes(codec_named("bf16").encode(slots)[0].numpy()) == b"\x80\x3f\xfe\xc2"
    packed = bytes(codec_named("int4").encode(torch.tensor([[-8.0, 7.0, 1.0]]))[0].numpy())
    assert packed == b"\x80\x3f" + b"\xf0\x89" + b"\x88" * 14


def test_unknown_codecs_are_named():
    with pytest.raises(InvalidOptionError, match=r"codec must be one of .* got 'fp8'"):
        codec_named("fp8")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_not_stored(value):
    check_finite_slots(torch.empty(0, 4))
    slots = torch.zeros(3, 4)
    slots[1, 2] = value
    with pytest.raises(NonFiniteScoreError, match="non-finite states in float32"):
        check_finite_slots(slots)
