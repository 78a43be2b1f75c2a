"""`run_bench`: loads the paths, measures them together, and says what it found."""

import gc
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import torch

from kalm_reranker.bench.measuring import Job, measure, num_calls
from kalm_reranker.bench.official import default_dtype
from kalm_reranker.bench.peak_memory import memory_groups, peaks_of
from kalm_reranker.bench.random_checkpoint import write_random_checkpoint
from kalm_reranker.bench.report import (
    ENCODED,
    STORED,
    TOGETHER,
    BenchReport,
    Measurement,
    MemoryPeak,
    ModelSizes,
    Way,
)
from kalm_reranker.bench.resources import Parameters, check_disk, check_memory, gigabytes
from kalm_reranker.bench.scorers import load_scorers, official_dtypes, ways_of
from kalm_reranker.bench.settings import JOINT, OFFICIAL, OURS, PATHS, BenchSettings
from kalm_reranker.bench.setup import Setup
from kalm_reranker.bench.shapes import SHAPES, SUFFIX
from kalm_reranker.bench.workload import Scorer
from kalm_reranker.engine.placement import choose_device, choose_dtype
from kalm_reranker.errors import InvalidOptionError
from kalm_reranker.machine import this_machine
from kalm_reranker.model.config import ModelConfig
from kalm_reranker.model.pooling import num_slots
from kalm_reranker.progress import progress_bar

# Candidates on which the margins of our path and the official one are compared.
_COMPARED = 2
# The longest that one path's memory measurement should take; it then scores fewer candidates.
_MEMORY_RUN_S = 10.0

Tell = Callable[[str], None]


def run_bench(
    settings: BenchSettings,
    *,
    on_stage: Tell | None = None,
    show_progress: bool | None = None,
) -> BenchReport:
    """Measures the paths on this machine.

    Stopped by Ctrl-C while it measures, it returns what it has.

    Args:
        settings: What to measure. Paths left at their default leave out the official one where
            Transformers is not installed, and say so; asked for, it is an error there.
        on_stage: Called with a line of text when a stage begins.
        show_progress: A progress bar over the measurements; None shows it on a terminal.

    Raises:
        InvalidOptionError: A setting is out of range, or memory or disk do not suffice.
        CheckpointError: The model cannot be found, fetched or used.
        MissingExtraError: The official path is asked for and Transformers is not installed.
    """
    tell = on_stage or (lambda line: None)
    notes: list[str] = []
    paths = _available(settings.paths, notes)
    with ExitStack() as stack:
        setup, random_weights = _setup(settings, paths, stack, tell)
        parameters = Parameters.of(setup.config)
        weights = _weights(setup.config, settings, paths)
        check_memory(weights | _buffers(setup, paths), setup.device)
        load_before = _load_average()
        ways = tuple(ways_of(setup, paths))
        scorers = load_scorers(setup, ways, tell)
        interrupted, jobs = False, _jobs(setup, scorers, tell)
        difference = None
        try:
            difference = _margin_difference(jobs)
            _measure(setup, jobs, tell, show_progress)
        except KeyboardInterrupt:
            interrupted = True
            if not any(job.probed for job in jobs):
                raise
        load_after = _load_average()
        measured = tuple(one for job in jobs if (one := job.measurement()) is not None)
        del scorers, jobs  # the memory measurements need the room
        gc.collect()
        peaks: list[MemoryPeak] = []
        if settings.memory and not interrupted:
            try:
                count = _memory_candidates(measured, setup)
                for group in memory_groups(ways):
                    tell(f"measuring memory: {'; '.join(way.title for way in group)}")
                    found = peaks_of(setup, group, count)
                    if not found:
                        notes.append(
                            f"The memory of {group[0].path} in {group[0].dtype} could not be "
                            "measured: the process that tried it failed."
                        )
                    peaks += found
            except KeyboardInterrupt:
                interrupted = True
    return BenchReport(
        model=ModelSizes(
            name=settings.model,
            random_weights=random_weights,
            layers=setup.config.decoder.num_layers,
            width=setup.config.decoder.hidden_width,
            joint_layers=setup.joint_layers,
            encoder_parameters=parameters.encoder,
            decoder_parameters=parameters.decoder,
            embedding_parameters=parameters.embedding,
        ),
        settings=asdict(settings) | {"paths": list(paths)},
        machine=this_machine(),
        device=str(setup.device),
        engine=f"{setup.engine.name} ({setup.engine.reason})"
        + (f", {setup.quantization} weights in our decoder" if setup.quantization else ""),
        prompt_tokens=len(setup.prompt_ids),
        ratio=setup.ratio,
        lengths=tuple(settings.lengths),
        ratios=tuple(sorted({setup.ratio, *settings.ratios})),
        ways=ways,
        measurements=measured,
        memory=tuple(peaks),
        margin_difference=difference,
        load_before=load_before,
        load_after=load_after,
        interrupted=interrupted,
        notes=tuple(notes),
    )


def _memory_candidates(measured: Sequence[Measurement], setup: Setup) -> int:
    """Returns how many candidates the memory measurements score: a batch, if there is time."""
    count = min(setup.settings.candidates, setup.settings.batch_size)
    longest = [one for one in measured if one.length == setup.max_length]
    slowest = max((one.best_s / one.candidates for one in longest), default=0.0)
    return max(1, min(count, int(_MEMORY_RUN_S / slowest))) if slowest else count


def _available(paths: Sequence[str], notes: list[str]) -> list[str]:
    if find_spec("transformers") is None and tuple(paths) == PATHS:
        notes.append(
            "The official path is left out: transformers is not installed "
            '(pip install "kalm-reranker[bench]").'
        )
        return [path for path in paths if path != OFFICIAL]
    return list(paths)


def _setup(
    settings: BenchSettings, paths: Sequence[str], stack: ExitStack, tell: Tell
) -> tuple[Setup, bool]:
    """Returns the setup, and whether its weights are random."""
    shape = SHAPES.get(settings.model)
    if shape is None:
        if settings.model.endswith(SUFFIX) and not Path(settings.model).exists():
            raise InvalidOptionError(
                f"--model: {settings.model!r} is no known shape; known are {', '.join(SHAPES)}."
            )
        return Setup.of(settings, settings.model), False
    config = ModelConfig.from_dict(shape.config())
    check_memory(_weights(config, settings, paths), choose_device(settings.device))
    num_bytes = (
        Parameters.of(config).total * choose_dtype(shape.dtype, torch.device("cpu")).dtype.itemsize
    )
    parent = Path(tempfile.gettempdir())
    check_disk(num_bytes, parent)
    tell(f"writing random weights of {settings.model}: {gigabytes(num_bytes)} in {parent}")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kalm-bench-")))
    return Setup.of(settings, write_random_checkpoint(shape, folder, seed=settings.seed)), True


def _weights(config: ModelConfig, settings: BenchSettings, paths: Sequence[str]) -> dict[str, int]:
    """Bytes of the models that are loaded together, by path."""
    device = choose_device(settings.device)
    dtype = choose_dtype(settings.dtype, device).dtype
    parameters = Parameters.of(config)
    needs = {}
    if OFFICIAL in paths:
        for name in official_dtypes(device, dtype):
            itemsize = choose_dtype(name, device).dtype.itemsize
            needs[f"official in {name}"] = parameters.total * itemsize
    if JOINT in paths:
        layer = parameters.encoder // config.encoder.num_layers
        layers = layer * (settings.joint_layers or config.decoder.num_layers)
        needs["cross-encoder"] = (parameters.embedding + layers) * dtype.itemsize
    if OURS in paths:
        needs["ours"] = parameters.total * dtype.itemsize
    return needs


def _buffers(setup: Setup, paths: Sequence[str]) -> dict[str, int]:
    """Bytes that are needed besides, by what takes them."""
    settings = setup.settings
    slots = sum(num_slots(length, ratio) for length, ratio in setup.points)
    width = setup.config.encoder.hidden_width
    needs = {"stored states": slots * settings.candidates * width * setup.dtype.itemsize}
    if OFFICIAL in paths:
        widest = max(setup.dtype.itemsize, default_dtype(setup.device).itemsize)
        # Logits at every position of a batch, and once more where they are converted.
        tokens = min(settings.batch_size, settings.candidates) * (len(setup.prompt_ids) + 7)
        needs["official logits"] = 2 * tokens * setup.config.decoder.vocab_size * widest
    if OURS in paths:
        needs["prefix cache"] = setup.prefix_cache_bytes
    return needs


def _jobs(setup: Setup, scorers: Sequence[Scorer], tell: Tell) -> list[Job]:
    tell("preparing passages")
    documents = {length: setup.documents(length) for length in setup.settings.lengths}
    jobs = []
    for length, ratio in setup.points:
        work = setup.workload(documents[length], length, ratio)
        for scorer in scorers:
            # Encoding hardly depends on the ratio, and the cross-encoder not at all: both are
            # measured over lengths only.
            if ratio == setup.ratio or scorer.way.passages not in (ENCODED, TOGETHER):
                known = None if scorer.way.passages == TOGETHER else ratio
                jobs.append(Job(scorer=scorer, work=work, ratio=known))
    return jobs


def _measure(setup: Setup, jobs: Sequence[Job], tell: Tell, show_progress: bool | None) -> None:
    settings = setup.settings
    tell(
        f"measuring {len(jobs)} combinations in {settings.rounds} rounds, "
        f"about {settings.limit_s:.0f} seconds at most"
    )
    calls = num_calls(len(jobs), rounds=settings.rounds, warm_up=settings.warm_up)
    with progress_bar(calls, label="measure", unit="calls", show=show_progress) as on_progress:
        try:
            measure(
                jobs,
                rounds=settings.rounds,
                warm_up=settings.warm_up,
                batch_size=settings.batch_size,
                limit_s=settings.limit_s,
                on_progress=on_progress,
            )
        except torch.OutOfMemoryError as error:
            raise InvalidOptionError(
                f"The memory of {setup.device} does not suffice: {str(error).splitlines()[0]}",
                hint="Measure fewer paths with --paths, or a smaller --batch-size or length.",
            ) from error


def _margin_difference(jobs: Sequence[Job]) -> float | None:
    """Returns how far our margins are at most from the official ones, at the first point."""
    work = jobs[0].work
    first = {job.scorer.way: job.scorer for job in jobs if job.work is work}
    compared = min(_COMPARED, len(work.documents))
    differences = []
    for way, scorer in first.items():
        given = ENCODED if way.passages == ENCODED else STORED
        official = first.get(Way(path=OFFICIAL, passages=given, dtype=way.dtype))
        if way.path == OURS and official is not None:
            # Twice, since a cache that is wrong is wrong the second time.
            scorer.score(work, compared)
            pairs = zip(scorer.score(work, compared), official.score(work, compared), strict=True)
            differences += [abs(ours - theirs) for ours, theirs in pairs]
    return max(differences, default=None)


def _load_average() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
