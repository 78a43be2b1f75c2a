"""Which rankers take part: those that score, and those that follow from them."""

from collections.abc import Sequence
from dataclasses import dataclass

from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.evaluation.names import file_names
from kalm_reranker.evaluation.rankers.base import Ranker
from kalm_reranker.evaluation.rankers.kalm import (
    KaLMModel,
    KaLMRanker,
    blend_info,
    cascade_info,
)
from kalm_reranker.evaluation.results import RankerInfo
from kalm_reranker.evaluation.settings import EvaluationSettings, fine_ratio_of, ratios_of


@dataclass(frozen=True)
class Cascade:
    """Two rankers of one model, the second for the best of the first."""

    info: RankerInfo
    coarse: KaLMRanker
    fine: KaLMRanker


class LineUp:
    """The columns of the table.

    Args:
        settings: Which models at which ratios and codecs, cascades, blends, baseline.
        models: Our models, loaded.
        peers: Other rankers.

    Raises:
        InvalidOptionError: Two rankers have one name, or the baseline is none of them.
        InvalidRatioError: A cascade's ratios do not fit.
    """

    def __init__(
        self, settings: EvaluationSettings, models: Sequence[KaLMModel], peers: Sequence[Ranker]
    ) -> None:
        self.models = tuple(models)
        self.first_stage = RankerInfo(
            name=_first_stage_name(settings),
            kind="first stage",
            settings={"first_stage": str(settings.first_stage), "top_k": settings.top_k},
        )
        self._kalm = [
            KaLMRanker(model, ratio, codec)
            for model in models
            for codec in settings.codecs or (None,)
            for ratio in ratios_of(settings, model.reranker.compression_ratio)
        ]
        self.peers = tuple(peers)
        self.cascades = [cascade for model in models for cascade in self._cascades(settings, model)]
        alone = [ranker.info for ranker in self._kalm] + [one.info for one in self.cascades]
        self.blends = [
            (blend_info(self.first_stage, info), info) for info in alone if settings.blend
        ]
        self.infos: tuple[RankerInfo, ...] = (
            self.first_stage,
            *alone,
            *(info for info, _ in self.blends),
            *(peer.info for peer in peers),
        )
        self.stems = file_names([info.name for info in self.infos])
        self.baseline = settings.baseline or self.first_stage.name
        if self.baseline not in self.stems:
            raise InvalidOptionError(
                f"baseline must be one of {', '.join(map(repr, self.stems))}; got "
                f"{self.baseline!r}."
            )

    @property
    def scorers(self) -> tuple[Ranker, ...]:
        """The rankers that score candidates; cascades and blends follow from these."""
        return (*self._kalm, *self.peers)

    def kalm_rankers(self, model: KaLMModel) -> list[KaLMRanker]:
        """Returns the single passes of one of our models."""
        return [ranker for ranker in self._kalm if ranker.model is model]

    def close(self) -> None:
        """Lets go of models and files."""
        for ranker in self.scorers:
            ranker.close()

    def _cascades(self, settings: EvaluationSettings, model: KaLMModel) -> list[Cascade]:
        rankers = {(ranker.ratio, ranker.info.codec): ranker for ranker in self.kalm_rankers(model)}
        codecs = dict.fromkeys(ranker.info.codec for ranker in self.kalm_rankers(model))
        found = []
        for codec in codecs:
            for cascade in settings.cascades:
                fine = rankers[fine_ratio_of(cascade, model.reranker.compression_ratio), codec]
                coarse = rankers[cascade.coarse_ratio, codec]
                found.append(Cascade(cascade_info(fine.info, cascade), coarse, fine))
        return found


def _first_stage_name(settings: EvaluationSettings) -> str:
    spec = settings.first_stage
    if spec.kind == "bm25":
        return "BM25"
    if spec.kind == "dense":
        return str(spec.target).rstrip("/").rpartition("/")[2]
    return "first stage"
