"""`evaluate`: every ranker over every dataset, and a report of what came out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kalm_reranker.errors import DatasetUnavailableError, InvalidOptionError
from kalm_reranker.evaluation.data.datasets import Dataset
from kalm_reranker.evaluation.dataset_run import DatasetRun, run_dataset
from kalm_reranker.evaluation.line_up import LineUp
from kalm_reranker.evaluation.names import file_names
from kalm_reranker.evaluation.rankers.base import Ranker
from kalm_reranker.evaluation.rankers.kalm import KaLMModel
from kalm_reranker.evaluation.rankers.peers import parse_peer
from kalm_reranker.evaluation.results import Evaluation
from kalm_reranker.evaluation.settings import EvaluationSettings, ratios_of
from kalm_reranker.machine import memory_bytes, this_machine

if TYPE_CHECKING:  # importing these costs torch
    from kalm_reranker.reranker import KaLMReranker

Say = Callable[[str], None]

_LEAST_PREFIX_CACHE = 2**30  # bytes
# After the words for the first dataset, which must not be read as those for all.
_OTHERS = "; other sets have another, see the notes"
_PREFIX_CACHE_SHARE = 6  # of the main memory; it is taken as it fills


def evaluate(
    datasets: Sequence[Dataset],
    settings: EvaluationSettings,
    folder: Path,
    *,
    states_folder: Path | None = None,
    rerankers: "Mapping[str, KaLMReranker] | None" = None,
    described: Mapping[str, Any] | None = None,
    on_dataset: Callable[[Evaluation], None] = lambda evaluation: None,
    say: Say = lambda line: None,
    show_progress: bool | None = None,
) -> Evaluation:
    """Evaluates rankers on judged collections; everything scored is kept and used again.

    Interrupted, it goes on where it stopped when it is called with the same folder: finished runs
    are read, unfinished ones go on at the last block of queries, and passages that were encoded
    stay encoded.

    Args:
        datasets: On what; at least one.
        settings: What is wanted.
        folder: Where candidates, runs and values per query are kept, a folder for each dataset.
        states_folder: Where passage states and vectors are kept; `states` in `folder`, if None.
        rerankers: Loaded models by their names in `settings.models`; the others are loaded here.
        described: What else belongs to the settings in the report, such as the command.
        on_dataset: Called with what was found so far after each dataset.
        say: Takes a line about what is being done.
        show_progress: None shows progress bars on a terminal.

    Returns:
        What was found. Datasets that cannot be had are left out and named in `notes`, if any other
        can be had.

    Raises:
        DatasetUnavailableError: No dataset can be had.
        KalmRerankerError: A dataset or a ranker cannot be used.
    """
    if not datasets:
        raise InvalidOptionError(
            "an evaluation needs at least one dataset; got none.",
            hint="Name a directory in BEIR form, or a benchmark.",
        )
    folders = file_names([dataset.name for dataset in datasets])
    states_folder = folder / "states" if states_folder is None else states_folder
    line_up = make_line_up(settings, rerankers or {}, say=say, show_progress=show_progress)
    try:
        evaluation = Evaluation(
            settings={**settings_as_dict(settings), **(described or {})},
            machine=this_machine(),
            first_stage="",
            datasets=(),
            rankers=line_up.infos,
            measurements=(),
        )
        unavailable: list[DatasetUnavailableError] = []
        for number, dataset in enumerate(datasets, start=1):
            place = f"[{number}/{len(datasets)}] {dataset.name}: " if len(datasets) > 1 else ""
            try:
                found = run_dataset(
                    dataset,
                    line_up,
                    settings,
                    folder / "datasets" / folders[dataset.name],
                    states_folder / folders[dataset.name],
                    say=partial(_say_at, say, place),
                    show_progress=show_progress,
                )
            except DatasetUnavailableError as error:
                if len(datasets) == 1:
                    raise
                unavailable.append(error)
                say(f"{place}left out: {error.message}")
                if len(unavailable) == 1 and error.hint is not None:  # the others' are alike
                    say(f"hint: {error.hint}")
                note = f"{dataset.name} is missing: {error.message}"
                evaluation = replace(evaluation, notes=(*evaluation.notes, note))
                continue
            evaluation = _with(evaluation, found)
            on_dataset(evaluation)
    finally:
        line_up.close()
    if not evaluation.datasets:
        first = unavailable[0]
        raise DatasetUnavailableError(
            f"None of the {len(datasets)} datasets can be had; the first: {first.message}",
            hint=first.hint,
        ) from first
    return evaluation


def make_line_up(
    settings: EvaluationSettings,
    rerankers: "Mapping[str, KaLMReranker]",
    *,
    say: Say,
    show_progress: bool | None,
) -> LineUp:
    """Loads models and peers.

    Raises:
        CheckpointError: One cannot be found, fetched or used.
        InvalidOptionError: Names or the baseline do not fit.
    """
    from kalm_reranker.reranker import KaLMReranker

    models = []
    for name in settings.models:
        reranker = rerankers.get(name)
        if reranker is None:
            say(f"loading {name}")
            reranker = KaLMReranker(name, **_model_options(settings))
        ratios = ratios_of(settings, reranker.compression_ratio)
        shown = Path(name).name or name
        models.append(KaLMModel(reranker, shown, ratios, show_progress=show_progress))
    device = settings.model_options.get("device")
    peers: list[Ranker] = [
        parse_peer(peer).open(device=device, show_progress=show_progress) for peer in settings.peers
    ]
    return LineUp(settings, models, peers)


def _model_options(settings: EvaluationSettings) -> dict[str, Any]:
    """Returns what models are loaded with: as asked for, and on a CPU with a larger prefix cache.

    Every passage is a candidate of several queries, which come in no order that helps a small one.
    """
    options = dict(settings.model_options)
    on_cpu = str(options.get("device") or "").startswith("cpu") or this_machine()["gpu"] is None
    if on_cpu:
        largest = max(_LEAST_PREFIX_CACHE, memory_bytes() // _PREFIX_CACHE_SHARE)
        options.setdefault("prefix_cache_bytes", largest)
    return options


def settings_as_dict(settings: EvaluationSettings) -> dict[str, Any]:
    """Returns settings as JSON can hold them."""
    return {**asdict(settings), "first_stage": str(settings.first_stage)}


def _say_at(say: Say, place: str, line: str) -> None:
    say(f"{place}{line}")


def _with(evaluation: Evaluation, found: DatasetRun) -> Evaluation:
    first_stage = evaluation.first_stage or found.first_stage
    notes = evaluation.notes
    if found.first_stage != first_stage.removesuffix(_OTHERS):
        notes = (*notes, f"First stage on {found.info.name}: {found.first_stage}.")
        first_stage = first_stage.removesuffix(_OTHERS) + _OTHERS
    return replace(
        evaluation,
        first_stage=first_stage,
        datasets=(*evaluation.datasets, found.info),
        measurements=(*evaluation.measurements, *found.measurements),
        comparisons=(*evaluation.comparisons, *found.comparisons),
        costs=(*evaluation.costs, *found.costs),
        notes=notes,
    )
