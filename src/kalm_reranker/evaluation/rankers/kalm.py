"""Our own models: one encoded collection, any number of ratios, codecs and cascades over it."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kalm_reranker.checkpoints.settings import CascadeSettings
from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.rankers.states import CandidateStates, encoding_bar
from kalm_reranker.evaluation.results import RankerInfo

if TYPE_CHECKING:  # importing these costs torch
    from kalm_reranker.encoding.states import PassageStates
    from kalm_reranker.reranker import KaLMReranker


class KaLMModel:
    """A reranker with the states of the dataset that is being ranked.

    Args:
        reranker: The model.
        name: What tables call it.
        ratios: Compression ratios at which it will be asked for scores.
        show_progress: None shows a progress bar while passages are encoded, on a terminal.
    """

    def __init__(
        self,
        reranker: "KaLMReranker",
        name: str,
        ratios: Sequence[int],
        *,
        show_progress: bool | None = None,
    ) -> None:
        self.reranker = reranker
        self.name = name
        self.ratios = sorted(set(ratios))
        self._show_progress = show_progress
        self._task: RankingTask | None = None
        self._states: CandidateStates | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its scores, besides ratio and codec."""
        reranker, provenance = self.reranker, self.reranker.provenance
        return {
            **asdict(provenance),
            "query_max_length": reranker.options.query_max_length,
            "system_instruction": reranker.options.system_instruction,
            "default_instruction": reranker.default_instruction,
            "device": reranker.device.type,
            "engine": reranker.engine.name,
            "quantization": reranker.quantization,
        }

    @property
    def folder_name(self) -> str:
        """A name of which no other model, or the same with other settings, has states."""
        provenance = json.dumps(asdict(self.reranker.provenance), sort_keys=True)
        digest = hashlib.sha256(provenance.encode()).hexdigest()[:12]
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', Path(self.name).name)}-{digest}"

    @property
    def states(self) -> CandidateStates:
        """The states of the dataset that `prepare` was called with last."""
        assert self._states is not None, "prepare comes first"
        return self._states

    @property
    def task(self) -> RankingTask:
        """What `prepare` was called with last."""
        assert self._task is not None, "prepare comes first"
        return self._task

    @property
    def notes(self) -> tuple[str, ...]:
        """What it did not read of queries and passages."""
        options = self.reranker.options
        notes = []
        queries = self.task.queries.values()
        num_cut = sum(map(self.reranker.is_query_cut, queries))
        if num_cut:
            notes.append(
                f"{self.name} reads {options.query_max_length} tokens of a query: {num_cut:,} of "
                f"{len(queries):,} are longer."
            )
        counts = self.states.token_counts()
        num_full = sum(count >= options.max_length for count in counts)
        if num_full and options.long_documents == "truncate":
            notes.append(
                f"{self.name} reads {options.max_length} tokens of a passage: {num_full:,} of "
                f"{len(counts):,} have as many or more."
            )
        return tuple(notes)

    def prepare(self, task: RankingTask) -> None:
        """Encodes the candidates of a dataset that are not encoded yet; nothing, the second time.

        Several rankers share a model, and each prepares it.
        """
        if self._task is task:
            return
        self.close()
        wanted = {passage_id: task.passages[passage_id] for passage_id in task.candidate_ids}
        label = f"{task.dataset}: encode with {self.name}"
        with encoding_bar(len(wanted), label=label, show=self._show_progress) as tell:
            self._states = CandidateStates(
                task.folder / self.folder_name,
                self.reranker,
                wanted,
                self.ratios,
                on_progress=tell,
            )
        self._task = task

    def margins(
        self, query_id: str, passage_ids: Sequence[str], ratio: int, codec: str | None
    ) -> dict[str, float]:
        """Returns the margin of each passage.

        Args:
            query_id: A query of the dataset.
            passage_ids: Candidates of the dataset.
            ratio: Compression ratio.
            codec: As if states were stored in it; the lossless one, if None.
        """
        margins: dict[str, float] = {}
        for block in self.states.blocks(passage_ids, ratio):
            states = self.states.read(block, ratio, codec)
            margins |= self.margins_of_states(query_id, block, states)
        return margins

    def margins_of_states(
        self, query_id: str, passage_ids: Sequence[str], states: "PassageStates"
    ) -> dict[str, float]:
        """Returns the margin of each passage, of states that were read before."""
        scored = self.reranker.score(
            self.task.queries[query_id],
            states,
            self.task.instruction_for(query_id),
            return_margin=True,
            show_progress=False,
        )
        return {
            passage_id: pair.margin for passage_id, pair in zip(passage_ids, scored, strict=True)
        }

    def close(self) -> None:
        """Closes the states; the model stays loaded."""
        if self._states is not None:
            self._states.close()
        self._states = self._task = None


class KaLMRanker:
    """A model at one compression ratio, with states in one codec.

    Args:
        model: The model.
        ratio: Tokens per slot.
        codec: How states are stored; without loss, if None.
    """

    def __init__(self, model: KaLMModel, ratio: int, codec: str | None = None) -> None:
        from kalm_reranker.store.codecs import default_codec

        lossless = default_codec(model.reranker.dtype)
        self.model = model
        self.ratio = ratio
        self.codec = None if codec == lossless else codec
        self.info = RankerInfo(
            name=f"{model.name} r={ratio}" + (f" {codec}" if self.codec else ""),
            kind="kalm",
            model=model.name,
            compression_ratio=ratio,
            codec=codec or lossless,
            settings=model.settings,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """See `KaLMModel.notes`."""
        return self.model.notes

    def prepare(self, task: RankingTask) -> None:
        """See `KaLMModel.prepare`."""
        self.model.prepare(task)

    def score(self, query_id: str, query: str, candidate_ids: Sequence[str]) -> Mapping[str, float]:
        """Returns margins: unlike P(yes) they have no ends at which different passages tie."""
        return self.model.margins(query_id, candidate_ids, self.ratio, self.codec)

    def bytes_per_passage(self) -> float | None:
        """Returns the mean bytes of a candidate's states."""
        return self.model.states.bytes_per_passage(self.ratio, self.codec)

    def close(self) -> None:
        """Closes the states."""
        self.model.close()


def blend_info(first_stage: RankerInfo, ranker: RankerInfo) -> RankerInfo:
    """Returns what the sum of z-scores of first stage and ranker is called."""
    return RankerInfo(
        name=f"{first_stage.name} + {ranker.name}",
        kind="blend",
        model=ranker.model,
        compression_ratio=ranker.compression_ratio,
        codec=ranker.codec,
        coarse_ratio=ranker.coarse_ratio,
        fine_count=ranker.fine_count,
        settings={
            "of": [first_stage.name, ranker.name],
            "how": "sum of z-scores" + (", in each pass" if ranker.kind == "cascade" else ""),
        },
    )


def cascade_info(fine: RankerInfo, cascade: CascadeSettings) -> RankerInfo:
    """Returns what a cascade is called: coarse ratio, fine ratio, candidates of the second pass."""
    assert fine.compression_ratio is not None
    coarse, count = cascade.coarse_ratio, cascade.fine_count
    codec = fine.name.removeprefix(f"{fine.model} r={fine.compression_ratio}")
    return RankerInfo(
        name=f"{fine.model} {coarse}:{fine.compression_ratio}:{count}{codec}",
        kind="cascade",
        model=fine.model,
        compression_ratio=fine.compression_ratio,
        codec=fine.codec,
        coarse_ratio=coarse,
        fine_count=count,
        settings={"how": f"ratio {coarse} for all, then the best {count} again"},
    )
