import numpy as np
import pytest
import torch

from kalm_reranker.encoding.provenance import Provenance
from kalm_reranker.encoding.states import PassageStates
from kalm_reranker.errors import InputError, InvalidRatioError, StatesMismatchError

ORIGIN = Provenance(model_fingerprint="m", template_version=1, max_length=9, dtype="float32")
OTHER = Provenance(model_fingerprint="n", template_version=1, max_length=9, dtype="float32")


def states(origin=ORIGIN, ratio=2) -> PassageStates:
    """Passages of 3, 1 and 4 tokens: 2, 1 and 2 slots at ratio 2."""
    slots = torch.arange(10.0).view(5, 2)
    return PassageStates(slots, [3, 1, 4], [False, False, True], ratio, origin)


def test_selection():
    assert states()[1].slots.tolist() == [[4.0, 5.0]]
    assert states()[-1].token_counts == (4,)
    assert states()[1:].slots.tolist() == [[4.0, 5.0], [6.0, 7.0], [8.0, 9.0]]
    chosen = states()[[2, 0, 2]]
    assert chosen.token_counts == (4, 3, 4)
    assert chosen.truncated == (True, False, True)
    assert chosen.slots[:, 0].tolist() == [6.0, 8.0, 0.0, 2.0, 6.0, 8.0]
    assert [part.token_counts for part in states()] == [(3,), (1,), (4,)]
    assert len(states()[[]]) == 0
    assert states().slots_of(-1).tolist() == states().slots_of(2).tolist()
    with pytest.raises(IndexError):
        states()[3]
    with pytest.raises(IndexError):
        states().slots_of(3)
    with pytest.raises(InputError, match="needs a tensor and a Provenance"):
        PassageStates([[1.0]], [1], [False], 1, ORIGIN)


def test_positions_of_any_integer_type():
    assert states()[np.int64(1)].token_counts == (1,)
    assert states()[np.array([2, 0])].token_counts == (4, 3)
    assert states()[torch.tensor([1])].token_counts == (1,)
    assert states()[torch.tensor(1)].token_counts == (1,)


@pytest.mark.parametrize(
    "key",
    [
        [False, True, True],
        True,
        np.array([True, False, True]),
        torch.tensor([True]),
        "a",
        1.0,
        None,
    ],
)
def test_what_is_no_position_is_refused(key):
    with pytest.raises(InputError, match="named by its position, a whole number"):
        states()[key]


def test_only_floating_states_of_real_passages_are_taken():
    with pytest.raises(InputError, match=r"floating dtype; got torch\.int8"):
        states().to(dtype=torch.int8)
    with pytest.raises(InputError, match="at least one token"):
        PassageStates(torch.zeros(1, 2), [1, 0], [False] * 2, 1, ORIGIN)


def test_padding():
    slots, mask = states().padded([1, 0])
    assert slots[..., 0].tolist() == [[4.0, 0.0], [0.0, 2.0]]
    assert mask.tolist() == [[True, False], [True, True]]


def test_repooling():
    coarse = states().repool(4)
    assert coarse.compression_ratio == 4
    assert coarse.slots[:, 0].tolist() == pytest.approx([(2 * 0 + 2) / 3, 4.0, 7.0])
    assert states().repool(2).slots.tolist() == states().slots.tolist()
    assert len(states()[[]].repool(4)) == 0
    with pytest.raises(InvalidRatioError, match="multiple of the stored ratio 2; got 3"):
        states().repool(3)


def test_joining():
    joined = PassageStates.concatenate([states()[:1], states()[1:]])
    assert torch.equal(joined.slots, states().slots)
    assert joined.truncated == states().truncated
    with pytest.raises(StatesMismatchError, match="different origin"):
        PassageStates.concatenate([states(), states(OTHER)])
    with pytest.raises(InputError, match=r"different compression ratios .*: 2 and 4"):
        PassageStates.concatenate([states(), states().repool(4)])
    with pytest.raises(InputError, match="at least one"):
        PassageStates.concatenate([])


def test_sizes_must_fit_together():
    with pytest.raises(InputError, match=r"must have shape \[4, D\] .*; got \[5, 2\]"):
        PassageStates(torch.zeros(5, 2), [3, 3], [False] * 2, 2, ORIGIN)
    with pytest.raises(InputError, match=r"one entry per passage \(1\); got 2"):
        PassageStates(torch.zeros(1, 2), [1], [False, True], 2, ORIGIN)


def test_bytes_and_conversion():
    assert states().num_bytes == 40
    assert states().to(dtype=torch.bfloat16).num_bytes == 20
    assert "3 passages, 5 slots of width 2, compression_ratio=2" in repr(states())
