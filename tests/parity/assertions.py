"""What "the same score" means (contract 1): bounds that come from the reference itself."""

from functools import cache

import numpy as np
import torch

from kalm_reranker import KaLMReranker
from tests.parity.reference import reference

FLOOR = 1e-4


def our_margins(reranker: KaLMReranker, pairs, **kwargs) -> np.ndarray:
    return np.array([p.margin for p in reranker.predict(pairs, return_margin=True, **kwargs)])


def float32_bound(directory, pairs, **kwargs) -> tuple[np.ndarray, float]:
    """The reference's float32 margins, and how far ours may be from them.

    That is 1e-4, or twice the reference's own deviation over batch size and attention kernel.
    """
    return _float32_bound(directory, tuple(pairs), tuple(sorted(kwargs.items())))


@cache
def _float32_bound(directory, pairs, kwargs) -> tuple[np.ndarray, float]:
    runs = [
        reference(directory, attention=attention).margins(
            list(pairs), batch_size=batch_size, **dict(kwargs)
        )
        for attention, batch_size in (("sdpa", 32), ("sdpa", 3), ("eager", 32))
    ]
    margins = np.array(runs)
    assert np.ptp(margins[0]) > 1.0, "margins must differ by units, or nothing can be seen"
    return margins[0], max(FLOOR, 2 * float(np.abs(margins - margins[0]).max()))


def assert_float32_margins_equal_reference(directory, pairs, *, reranker=None, **kwargs) -> None:
    reranker = reranker or KaLMReranker(directory, dtype="float32", device="cpu")
    expected, bound = float32_bound(directory, pairs, **kwargs)
    assert_close(our_margins(reranker, pairs, compression_ratio=kwargs["ratio"]), expected, bound)


def assert_close(ours: np.ndarray, expected: np.ndarray, bound: float) -> None:
    worst = int(np.abs(ours - expected).argmax())
    difference = abs(ours[worst] - expected[worst])
    assert difference <= bound, (
        f"pair {worst}: margin {ours[worst]:.6f}, reference {expected[worst]:.6f}, "
        f"difference {difference:.2e} above {bound:.2e}"
    )


def assert_low_precision_error_within_twice_the_reference(
    directory, pairs, dtype: torch.dtype, *, ratio: int | None
) -> None:
    """Maximum and mean error against the float32 reference, ours and its own."""
    exact = np.array(reference(directory).margins(pairs, ratio=ratio))
    theirs = np.array(reference(directory, dtype=dtype).margins(pairs, ratio=ratio))
    reranker = KaLMReranker(directory, dtype=dtype, device="cpu")
    ours = our_margins(reranker, pairs, compression_ratio=ratio)
    our_error, their_error = np.abs(ours - exact), np.abs(theirs - exact)
    assert our_error.max() <= 2 * their_error.max(), (our_error.max(), their_error.max())
    assert our_error.mean() <= 2 * their_error.mean(), (our_error.mean(), their_error.mean())
