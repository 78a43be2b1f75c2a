"""Parity once at Nano's true shape: 18 layers, width 640, 262,144 tokens, window 512."""

import pytest

from tests.parity.assertions import (
    assert_float32_margins_equal_reference,
    assert_low_precision_error_within_twice_the_reference,
)
from tests.parity.pairs import pairs
from tests.parity.random_checkpoints import NANO, build_checkpoint
from tests.parity.reference import reference


@pytest.mark.slow
def test_float32_margins_equal_the_reference_at_nanos_shape(tmp_path):
    checkpoint = build_checkpoint(tmp_path / "nano", **NANO)
    some = pairs(12, longest=300)  # up to some 750 tokens, beyond the window
    assert_float32_margins_equal_reference(checkpoint, some, ratio=4)
    reference.cache_clear()  # gigabytes


@pytest.mark.slow
def test_bfloat16_errors_are_within_twice_the_reference_at_nanos_shape(tmp_path):
    import torch

    checkpoint = build_checkpoint(tmp_path / "nano", **NANO)
    assert_low_precision_error_within_twice_the_reference(
        checkpoint, pairs(200, longest=25), torch.bfloat16, ratio=4
    )
    reference.cache_clear()
