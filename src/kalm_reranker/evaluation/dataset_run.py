"""All rankers over one dataset: the same candidates for each, measured and compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import cast

from kalm_reranker.evaluation.data.collection import Collection
from kalm_reranker.evaluation.data.datasets import Dataset
from kalm_reranker.evaluation.first_stage.candidates import Candidates, find_candidates
from kalm_reranker.evaluation.kept_costs import kept_costs
from kalm_reranker.evaluation.kept_times import kept_times
from kalm_reranker.evaluation.line_up import LineUp
from kalm_reranker.evaluation.measures.distributions import score_distribution
from kalm_reranker.evaluation.measures.metrics import NDCG_AT_10, ROC_AUC, MeasuredRun, measure_all
from kalm_reranker.evaluation.measures.per_query import PerQuery, write_per_query
from kalm_reranker.evaluation.measures.roc_auc import roc_auc
from kalm_reranker.evaluation.measures.significance import Test, compare
from kalm_reranker.evaluation.ranked_dataset import RankedDataset
from kalm_reranker.evaluation.ranker_run import hash_of_task
from kalm_reranker.evaluation.rankers.base import RankingTask
from kalm_reranker.evaluation.results import (
    Comparison,
    DatasetInfo,
    Measurement,
    OnlineCost,
    RankerInfo,
)
from kalm_reranker.evaluation.settings import EvaluationSettings

_MTEB = "mteb:"


@dataclass(frozen=True, kw_only=True)
class DatasetRun:
    """Everything found on one dataset."""

    info: DatasetInfo
    first_stage: str
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]
    costs: tuple[OnlineCost, ...]


def run_dataset(
    dataset: Dataset,
    line_up: LineUp,
    settings: EvaluationSettings,
    folder: Path,
    states_folder: Path,
    *,
    say: Callable[[str], None],
    show_progress: bool | None = None,
) -> DatasetRun:
    """Finds candidates, has every ranker order them, and measures what comes out.

    Args:
        dataset: What to evaluate on.
        line_up: The rankers.
        settings: What is wanted.
        folder: Of this dataset: candidates, runs, values per query.
        states_folder: Of this dataset: passage states and vectors.
        say: Takes a line about what is being done.
        show_progress: None shows progress bars on a terminal.

    Raises:
        KalmRerankerError: The dataset or a ranker cannot be used.
    """
    collection = dataset.load()
    if settings.max_queries is not None:
        collection = collection.first_queries(settings.max_queries)
    # Predictions of mteb are saved by task and subset. The source has both; the name leaves out a
    # subset that is the only one of its task.
    is_of_mteb = dataset.source.startswith(_MTEB)
    name, _, subset = (dataset.source.removeprefix(_MTEB) if is_of_mteb else "").partition("/")
    candidates = find_candidates(
        settings.first_stage,
        collection,
        top_k=settings.top_k,
        folder=folder,
        task=name or None,
        subset=subset or "default",
        split=dataset.split,
        device=settings.model_options.get("device"),
        show_progress=show_progress,
    )
    task = RankingTask(
        dataset=dataset.name,
        instruction=dataset.instruction,
        passages=collection.passages,
        queries=collection.queries,
        candidates=candidates.run,
        folder=states_folder,
        query_instructions=collection.query_instructions,
    )
    numbers = _Numbers(collection, task, line_up, settings, folder, say, show_progress)
    measurements, comparisons = numbers.measurements(), numbers.comparisons()
    return DatasetRun(
        first_stage=candidates.description,
        measurements=measurements,
        comparisons=comparisons,
        costs=numbers.costs(),
        info=_info(dataset, collection, candidates, numbers.notes),
    )


class _Numbers:
    """Has all rankers order the candidates of a dataset, and measures what came out."""

    def __init__(
        self,
        collection: Collection,
        task: RankingTask,
        line_up: LineUp,
        settings: EvaluationSettings,
        folder: Path,
        say: Callable[[str], None],
        show_progress: bool | None,
    ) -> None:
        self._collection = collection
        self._task = task
        self._line_up = line_up
        self._settings = settings
        self._folder = folder
        self._say = say
        self._show_progress = show_progress
        self._task_hash = hash_of_task(task)
        self._measured: dict[str, dict[str, MeasuredRun]] = {}
        ranked = RankedDataset(
            task,
            self._task_hash,
            line_up,
            folder / "runs",
            say=say,
            show_progress=show_progress,
        )
        ranked.make_all()
        self._found = ranked.found
        self.notes = ranked.notes

    def measurements(self) -> tuple[Measurement, ...]:
        """Returns the numbers of every ranker, in the order of the table."""
        times = kept_times(
            self._folder / "times.json",
            self._line_up,
            self._task,
            self._task_hash,
            self._settings.timed_queries,
            show_progress=self._show_progress,
        )
        return tuple(self._measurement(info, times) for info in self._line_up.infos)

    def comparisons(self) -> tuple[Comparison, ...]:
        """Returns every ranker against the baseline, by nDCG@10; none with a single query."""
        baseline = self._line_up.baseline
        if len(self._task.candidates) < 2:
            self.notes.append("A single query allows no test of significance.")
            return ()
        return tuple(
            compare(
                self._measured[info.name][NDCG_AT_10].per_query,
                self._measured[baseline][NDCG_AT_10].per_query,
                measure=NDCG_AT_10,
                ranker=info.name,
                baseline=baseline,
                dataset=self._task.dataset,
                test=cast("Test", self._settings.significance),
            )
            for info in self._line_up.infos
            if info.name != baseline
        )

    def costs(self) -> tuple[OnlineCost, ...]:
        """Returns the online cost of each of our models; nothing where it is not wanted."""
        if not self._settings.costs:
            return ()
        return kept_costs(
            self._folder / "costs.json",
            self._line_up,
            self._task,
            self._task_hash,
            self._settings.timed_queries or 1,
            say=self._say,
        )

    def _measurement(self, info: RankerInfo, times: Mapping[str, float]) -> Measurement:
        found = self._found[info.name]
        qrels = self._collection.qrels
        measured = measure_all(found.run, qrels)
        self._measured[info.name] = measured
        values = {name: one.mean for name, one in measured.items()}
        # Sums of z-scores are made within a query, and a cascade's two passes have two scales:
        # neither can be held against one threshold for all queries.
        if info.kind not in ("blend", "cascade"):
            area = roc_auc(found.run, qrels)
            if area.pooled is not None:
                values[ROC_AUC] = area.pooled
            elif area.reason is not None:
                self.notes.append(f"{info.name} has no ROC-AUC: {area.reason}.")
        write_per_query(
            self._folder / "per_query" / f"{self._line_up.stems[info.name]}.csv",
            PerQuery(
                num_candidates={query_id: len(scores) for query_id, scores in found.run.items()},
                values={name: one.per_query for name, one in measured.items()},
            ),
        )
        wants_distribution = self._settings.distributions and info.kind == "kalm"
        return Measurement(
            dataset=self._task.dataset,
            ranker=info.name,
            measures=values,
            distribution=score_distribution(found.run, qrels) if wants_distribution else None,
            bytes_per_passage=found.bytes_per_passage,
            ms_per_query=self._ms_per_query(info, times),
            seconds=found.seconds,
        )

    def _ms_per_query(self, info: RankerInfo, times: Mapping[str, float]) -> float | None:
        """Returns the time of one of ours as it was measured apart, of a peer as it was scored."""
        if info.kind == "blend":  # adding z-scores takes nothing beside the scoring
            return times.get(next(of.name for blend, of in self._line_up.blends if blend is info))
        if info.kind in ("kalm", "cascade"):
            return times.get(info.name)
        return self._found[info.name].ms_per_query


def _info(
    dataset: Dataset, collection: Collection, candidates: Candidates, notes: Sequence[str]
) -> DatasetInfo:
    found = candidates.run.values()
    return DatasetInfo(
        name=dataset.name,
        source=dataset.source,
        split=dataset.split,
        instruction=dataset.instruction,
        num_passages=len(collection.passages),
        num_queries=len(collection.queries),
        num_candidates=sum(map(len, found)),
        num_candidate_passages=len(set(chain.from_iterable(found))),
        notes=(*collection.notes, *candidates.notes, *notes),
        group=dataset.group,
    )
