"""How passage states become bytes and back: the only place that knows the layout of a slot.

Every slot of a codec takes the same number of bytes, and a passage's states are its slots one
after another, so many passages are decoded at once as one [N, bytes of a slot] matrix. All numbers
are little-endian. `docs/store-format.md` is the specification.

Shape letters: N slots of any number of passages, D hidden width.
"""

import sys
from typing import Final, Literal, Protocol, TypeAlias, cast, get_args

import torch
from torch import Tensor

from kalm_reranker.errors import InvalidOptionError, NonFiniteScoreError

CodecName: TypeAlias = Literal["float32", "bf16", "int8", "int4"]

_INT4_GROUP = 32  # values that share a scale; 2 bytes of scale for 16 bytes of values
_INT8_LARGEST = 127
_INT4_LOWEST = -8


class Codec(Protocol):
    """One way of writing slots."""

    @property
    def name(self) -> CodecName:
        """Its name in headers and options."""
        ...

    def slot_bytes(self, width: int) -> int:
        """Bytes of one slot of D = `width` values."""
        ...

    def encode(self, slots: Tensor) -> Tensor:
        """Returns [N, slot_bytes] uint8 on the CPU, for slots [N, D] of any floating dtype."""
        ...

    def decode(self, rows: Tensor, width: int, dtype: torch.dtype) -> Tensor:
        """Returns slots [N, D] in `dtype`, for rows [N, slot_bytes] uint8 on the CPU.

        May share memory with `rows`.
        """
        ...


class _Raw:
    """The values themselves, in a floating dtype."""

    def __init__(self, name: CodecName, dtype: torch.dtype) -> None:
        self.name: Final = name
        self._dtype = dtype

    def slot_bytes(self, width: int) -> int:
        return width * self._dtype.itemsize

    def encode(self, slots: Tensor) -> Tensor:
        values = slots.to("cpu", self._dtype).contiguous()
        return values.view(torch.uint8)

    def decode(self, rows: Tensor, width: int, dtype: torch.dtype) -> Tensor:
        return rows.view(self._dtype).to(dtype)


class _Int8:
    """A float32 scale a slot, then D signed bytes: value = scale * byte."""

    name: Final = "int8"

    def slot_bytes(self, width: int) -> int:
        return 4 + width

    def encode(self, slots: Tensor) -> Tensor:
        values = slots.to("cpu", torch.float32)
        scales = values.abs().amax(1, keepdim=True) / _INT8_LARGEST  # [N, 1]
        # A slot of zeros, or of values so small that the scale vanishes, has any scale.
        quantised = torch.round(values / torch.where(scales > 0, scales, 1.0))
        quantised = quantised.clamp(-_INT8_LARGEST, _INT8_LARGEST).to(torch.int8)
        scales = scales.clone(memory_format=torch.contiguous_format)
        return torch.cat([scales.view(torch.uint8), quantised.view(torch.uint8)], 1)

    def decode(self, rows: Tensor, width: int, dtype: torch.dtype) -> Tensor:
        # A clone: of no rows, `contiguous` would leave the strides that `view` cannot take.
        scales = rows[:, :4].clone(memory_format=torch.contiguous_format).view(torch.float32)
        return (rows[:, 4:].view(torch.int8).to(torch.float32) * scales).to(dtype)


class _Int4:
    """Groups of 32 values with a bfloat16 scale each: all scales, then two values a byte.

    The scale is signed: the value farthest from zero becomes -8, so that no step of the 16 is
    wasted on a range the group does not have. value = scale * (nibble - 8).
    """

    name: Final = "int4"

    def slot_bytes(self, width: int) -> int:
        return 2 * _num_groups(width) + _INT4_GROUP // 2 * _num_groups(width)

    def encode(self, slots: Tensor) -> Tensor:
        values = slots.to("cpu", torch.float32)
        num_slots, width = values.shape
        groups = _num_groups(width)
        padded = torch.nn.functional.pad(values, (0, groups * _INT4_GROUP - width))
        grouped = padded.view(num_slots, groups, _INT4_GROUP)
        farthest = grouped.gather(2, grouped.abs().argmax(2, keepdim=True))
        scales = (farthest / _INT4_LOWEST).to(torch.bfloat16)  # [N, G, 1], as it will be read
        divisors = torch.where(scales == 0, 1.0, scales.float())
        nibbles = torch.round(grouped / divisors).clamp(_INT4_LOWEST, 7) - _INT4_LOWEST
        nibbles = nibbles.to(torch.uint8).view(num_slots, groups * _INT4_GROUP)
        packed = nibbles[:, 0::2] | (nibbles[:, 1::2] << 4)  # the first value in the low half
        return torch.cat([scales.view(num_slots, groups).view(torch.uint8), packed], 1)

    def decode(self, rows: Tensor, width: int, dtype: torch.dtype) -> Tensor:
        groups = _num_groups(width)
        scales = rows[:, : 2 * groups].clone(memory_format=torch.contiguous_format)
        scales = scales.view(torch.bfloat16).float()  # [N, G]
        packed = rows[:, 2 * groups :]
        nibbles = torch.stack([packed & 0x0F, packed >> 4], 2)  # [N, bytes, 2]
        values = nibbles.view(len(rows), groups, _INT4_GROUP).float().add_(_INT4_LOWEST)
        values = values.mul_(scales.unsqueeze(2)).view(len(rows), groups * _INT4_GROUP)
        return values[:, :width].to(dtype)


def _num_groups(width: int) -> int:
    return -(-width // _INT4_GROUP)


_CODECS: dict[CodecName, Codec] = {
    "float32": _Raw("float32", torch.float32),
    "bf16": _Raw("bf16", torch.bfloat16),
    "int8": _Int8(),
    "int4": _Int4(),
}


def codec_named(name: str) -> Codec:
    """Returns a codec.

    Raises:
        InvalidOptionError: There is none of this name, or the machine is big-endian.
    """
    if name not in get_args(CodecName):
        raise InvalidOptionError(
            f"codec must be one of {', '.join(map(repr, get_args(CodecName)))}; got {name!r}.",
            hint="bf16 keeps what a bfloat16 model computes; int8 and int4 are smaller and lossy.",
        )
    if sys.byteorder != "little":
        raise InvalidOptionError("stores of passage states need a little-endian machine.")
    return _CODECS[cast("CodecName", name)]


def default_codec(dtype: torch.dtype) -> CodecName:
    """Returns the codec that keeps what a model in this dtype computes, without loss."""
    return "bf16" if dtype == torch.bfloat16 else "float32"


def check_finite_slots(slots: Tensor) -> None:
    """Refuses slots that are no numbers.

    Raises:
        NonFiniteScoreError: A value is NaN or infinite.
    """
    if not bool(torch.isfinite(slots).all()):
        raise NonFiniteScoreError(
            f"The encoder gave non-finite states in {str(slots.dtype).removeprefix('torch.')}.",
            hint="Use dtype='bfloat16' or 'float32'; float16 overflows in this architecture. In "
            "those dtypes it means damaged weights.",
        )
