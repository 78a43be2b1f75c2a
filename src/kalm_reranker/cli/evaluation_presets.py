"""What `kalm eval` and each `kalm analyze` measure where nothing else is said."""

from dataclasses import dataclass

from kalm_reranker.checkpoints.settings import CascadeSettings

# SPEC of the paper's curves. Coarser ones than a passage has tokens give one slot.
PAPER_RATIOS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Defaults of one command.

    Attributes:
        name: Of the command.
        summary: The first line of its help.
        example: A command line.
        ratios: Compression ratios; empty for each model's own.
        cascades: Cascades.
        blend: Also blends with the first stage.
        timed_queries: Queries to time.
        distributions: Histograms of scores.
        costs: Online cost.
    """

    name: str
    summary: str
    example: str
    ratios: tuple[int, ...] = ()
    cascades: tuple[CascadeSettings, ...] = ()
    blend: bool = True
    timed_queries: int = 10
    distributions: bool = False
    costs: bool = False


def _cascade(coarse: int, fine: int, count: int) -> CascadeSettings:
    return CascadeSettings(coarse_ratio=coarse, fine_ratio=fine, fine_count=count)


EVAL = Preset(
    name="eval",
    summary="Rank with every ranker, and report quality, size and time in one table.",
    example="kalm eval data/scifact data/cranfield --ratios 2,8,32 --cascade 32:2:20",
)
RATIOS = Preset(
    name="ratios",
    summary="Quality by compression ratio (and codec): nDCG against bytes and milliseconds.",
    example="kalm analyze ratios data/scifact --codecs bf16,int8,int4",
    ratios=PAPER_RATIOS,
    blend=False,
)
SCORES = Preset(
    name="scores",
    summary="How well scores separate relevant passages: ROC-AUC and histograms by ratio.",
    example="kalm analyze scores data/fiqa --ratios 2,8,32",
    ratios=(2, 4, 8, 16, 32),
    blend=False,
    timed_queries=0,
    distributions=True,
)
CASCADE = Preset(
    name="cascade",
    summary="Two passes at two ratios: what they cost and what they keep, against single ones.",
    example="kalm analyze cascade data/scifact --cascade 32:2:20 --cascade 32:2:50",
    ratios=(2, 4, 8, 16, 32),
    cascades=(
        *(_cascade(32, 2, count) for count in (10, 20, 50)),
        *(_cascade(16, 2, count) for count in (10, 20, 50)),
        *(_cascade(8, 2, count) for count in (10, 20, 50)),
    ),
    blend=False,
    timed_queries=20,
)
COST = Preset(
    name="cost",
    summary="Online cost by ratio: the paper's formula beside what this machine measures.",
    example="kalm analyze cost data/scifact --ratios 2,4,8,16,32",
    ratios=(2, 4, 8, 16, 32),
    blend=False,
    timed_queries=20,
    costs=True,
)
ANALYSES = (RATIOS, SCORES, CASCADE, COST)
