"""At which ratios candidates are scored: one for all, or a coarse one first, then a fine one."""

from dataclasses import dataclass

from kalm_reranker.checkpoints.settings import CascadeSettings
from kalm_reranker.errors import InvalidOptionError, InvalidRatioError
from kalm_reranker.model.pooling import check_ratio
from kalm_reranker.options import UNSET, RatioOption, Unset, check_count


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringPlan:
    """Ratios of a search, each a multiple of the stored one.

    Attributes:
        ratio: Of the last pass: of all candidates, or of the best of them.
        coarse_ratio: Of the first pass over all candidates; None for one pass.
        fine_count: How many the second pass scores, where there are two.
        note: Why the checkpoint's own plan was not followed; None where it was.
    """

    ratio: int
    coarse_ratio: int | None = None
    fine_count: int = 0
    note: str | None = None


def plan_scoring(
    *,
    stored_ratio: int,
    default: CascadeSettings | None,
    window: int | None = None,
    cascade: CascadeSettings | Unset | None = UNSET,
    compression_ratio: RatioOption = UNSET,
) -> ScoringPlan:
    """Returns how to score.

    Args:
        stored_ratio: Ratio of the stored states.
        default: What the checkpoint wants.
        window: Tokens of a window, which every ratio must divide; None where passages have one.
        cascade: What the caller wants; None is one pass.
        compression_ratio: One pass at this ratio.

    Raises:
        InvalidOptionError: Both a cascade and a ratio are asked for.
        InvalidRatioError: A ratio is no multiple of the stored one, does not divide the length of
            windows, or the coarse one is not coarser.
    """
    if compression_ratio is not UNSET:
        if not isinstance(cascade, Unset) and cascade is not None:
            raise InvalidOptionError(
                "cascade and compression_ratio exclude each other: a cascade has ratios of its "
                "own.",
                hint="Give one of them.",
            )
        return ScoringPlan(
            ratio=_multiple(compression_ratio, stored_ratio, window, "compression_ratio")
        )
    if isinstance(cascade, Unset):
        return _default_plan(stored_ratio, default, window)
    if cascade is None:
        return ScoringPlan(ratio=stored_ratio)
    if not isinstance(cascade, CascadeSettings):
        raise InvalidOptionError(
            f"cascade must be a CascadeSettings or None; got {type(cascade).__name__}.",
            hint="CascadeSettings(coarse_ratio=32, fine_ratio=None, fine_count=20).",
        )
    fine = stored_ratio
    if cascade.fine_ratio is not None:
        fine = _multiple(cascade.fine_ratio, stored_ratio, window, "cascade.fine_ratio")
    coarse = _multiple(cascade.coarse_ratio, stored_ratio, window, "cascade.coarse_ratio")
    if coarse <= fine:
        raise InvalidRatioError(
            f"cascade.coarse_ratio must be above the fine ratio {fine}; got {coarse}."
        )
    count = check_count(cascade.fine_count, "cascade.fine_count")
    return ScoringPlan(ratio=fine, coarse_ratio=coarse, fine_count=count)


def _default_plan(
    stored_ratio: int, default: CascadeSettings | None, window: int | None
) -> ScoringPlan:
    """The checkpoint's plan as far as the stored ratio allows it; it is no error if it does not."""
    if default is None:
        return ScoringPlan(ratio=stored_ratio)
    fine = default.fine_ratio or stored_ratio
    note = None
    if fine % stored_ratio:
        note = f"the cascade's fine ratio {fine} is no multiple of the stored {stored_ratio}"
        fine = stored_ratio
    elif not _divides(fine, window):
        note = f"the cascade's fine ratio {fine} does not divide windows of {window} tokens"
        fine = stored_ratio
    if default.coarse_ratio % stored_ratio or default.coarse_ratio <= fine:
        reason = f"no cascade: its coarse ratio {default.coarse_ratio} cannot be had from {fine}"
        return ScoringPlan(ratio=fine, note=reason)
    if not _divides(default.coarse_ratio, window):
        reason = (
            f"no cascade: its coarse ratio {default.coarse_ratio} does not divide windows of "
            f"{window} tokens"
        )
        return ScoringPlan(ratio=fine, note=reason)
    return ScoringPlan(
        ratio=fine, coarse_ratio=default.coarse_ratio, fine_count=default.fine_count, note=note
    )


def _divides(ratio: int, window: int | None) -> bool:
    return window is None or window % ratio == 0


def _multiple(ratio: RatioOption, stored_ratio: int, window: int | None, name: str) -> int:
    wanted = check_ratio(ratio)
    if wanted % stored_ratio:
        raise InvalidRatioError(
            f"{name} must be a multiple of {stored_ratio}, the ratio the index was made with; "
            f"got {wanted}.",
            hint="Make another index at a finer ratio for it.",
        )
    if not _divides(wanted, window):
        raise InvalidRatioError(
            f"{name} must divide {window}, the tokens of a window in this index; got {wanted}.",
            hint=f"Choose a multiple of {stored_ratio} that divides {window}.",
        )
    return wanted
