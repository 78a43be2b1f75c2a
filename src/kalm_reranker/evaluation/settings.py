"""What an evaluation is asked for, checked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kalm_reranker.checkpoints.settings import CascadeSettings
from kalm_reranker.errors import InvalidOptionError, InvalidRatioError
from kalm_reranker.evaluation.first_stage.first_stage_spec import FirstStageSpec
from kalm_reranker.options import check_count


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What is to be evaluated, besides the datasets.

    Attributes:
        models: KaLM models: short names, directories or hub ids. May be empty, for peers alone.
        ratios: Compression ratios of each; empty for each model's own.
        codecs: How states are stored; empty for the lossless one of each model's dtype.
        cascades: Two passes at these ratios, besides the single ones.
        blend: Also the sum of z-scores of first stage and each of our rankers.
        peers: Other rankers, as `parse_peer` reads them.
        first_stage: What finds the candidates.
        top_k: Most candidates of a query.
        max_queries: First judged queries of each dataset; None for all.
        timed_queries: Queries on which ratios and cascades are timed, in turns; 0 for none.
        distributions: Histograms of scores for each of our rankers.
        costs: Measured and analytic online cost of each ratio.
        baseline: Ranker that the others are compared with; None for the first stage.
        significance: "t-test" or "bootstrap".
        model_options: Keyword arguments of `KaLMReranker`: device, dtype, max_length, ...
    """

    models: tuple[str, ...] = ("pico",)
    ratios: tuple[int, ...] = ()
    codecs: tuple[str, ...] = ()
    cascades: tuple[CascadeSettings, ...] = ()
    blend: bool = True
    peers: tuple[str, ...] = ()
    first_stage: FirstStageSpec = field(default_factory=lambda: FirstStageSpec(kind="bm25"))
    top_k: int = 100
    max_queries: int | None = None
    timed_queries: int = 10
    distributions: bool = False
    costs: bool = False
    baseline: str | None = None
    significance: str = "t-test"
    model_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_count(self.top_k, "top_k")
        if self.max_queries is not None:
            check_count(self.max_queries, "max_queries")
        if self.timed_queries:
            check_count(self.timed_queries, "timed_queries")
        if self.significance not in ("t-test", "bootstrap"):
            raise InvalidOptionError(
                f"significance must be 't-test' or 'bootstrap'; got {self.significance!r}."
            )
        for ratio in self.ratios:
            check_count(ratio, "a compression ratio")
        for cascade in self.cascades:
            check_count(cascade.coarse_ratio, "a cascade's coarse ratio")
            check_count(cascade.fine_count, "a cascade's count")
            if cascade.fine_ratio is not None:
                check_count(cascade.fine_ratio, "a cascade's fine ratio")
        if self.codecs:
            from kalm_reranker.store.codecs import codec_named

            for codec in self.codecs:
                codec_named(codec)
        if not self.models and (self.ratios or self.codecs or self.cascades or self.costs):
            raise InvalidOptionError(
                "ratios, codecs, cascades and costs are those of KaLM models; none was given.",
                hint="Name a model, for example pico.",
            )
        for name in ("models", "ratios", "codecs", "cascades", "peers"):
            _refuse_repeated(getattr(self, name), name)


def ratios_of(settings: EvaluationSettings, own_ratio: int) -> tuple[int, ...]:
    """Returns the ratios at which a model scores all candidates.

    Those asked for, or its own; and those of cascades, which are made of single passes.

    Raises:
        InvalidRatioError: A cascade's coarse ratio is not a multiple of its fine one above it.
    """
    ratios = list(settings.ratios) or [own_ratio]
    for cascade in settings.cascades:
        fine = fine_ratio_of(cascade, own_ratio)
        if cascade.coarse_ratio <= fine or cascade.coarse_ratio % fine:
            raise InvalidRatioError(
                f"a cascade's coarse ratio must be a multiple of its fine ratio {fine}, above it; "
                f"got {cascade.coarse_ratio}."
            )
        ratios += [fine, cascade.coarse_ratio]
    return tuple(sorted(set(ratios)))


def fine_ratio_of(cascade: CascadeSettings, own_ratio: int) -> int:
    """Returns the ratio of a cascade's second pass: the model's own, where it leaves that open."""
    return own_ratio if cascade.fine_ratio is None else cascade.fine_ratio


def _refuse_repeated(values: Sequence[object], name: str) -> None:
    for value in values:
        if values.count(value) > 1:
            raise InvalidOptionError(f"{name} must be different from each other; {value!r} is not.")
