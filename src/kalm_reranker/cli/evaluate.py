"""`kalm eval`, and `kalm analyze ...`: the same command with other defaults."""

import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kalm_reranker.checkpoints.settings import CascadeSettings
from kalm_reranker.cli.evaluation_options import (
    BaselineOption,
    BenchmarkOption,
    BlendOption,
    CascadeOption,
    CodecsOption,
    CostsOption,
    DataOption,
    DatasetsArgument,
    EvaluationDeviceOption,
    EvaluationDtypeOption,
    EvaluationEngineOption,
    EvaluationMaxLengthOption,
    EvaluationQuantizationOption,
    FirstStageOption,
    HistogramsOption,
    InstructionOption,
    InstructionsOption,
    JsonOption,
    LanguageOption,
    MaxQueriesOption,
    ModelsOption,
    OutputOption,
    PeerOption,
    RatiosOption,
    SignificanceOption,
    SplitOption,
    StatesOption,
    TaskOption,
    TimedQueriesOption,
    TopKOption,
)
from kalm_reranker.cli.evaluation_presets import ANALYSES, EVAL, Preset
from kalm_reranker.cli.options import counts_from_text
from kalm_reranker.cli.output import console, print_json
from kalm_reranker.cli.search_options import cascade_from_text
from kalm_reranker.errors import InvalidOptionError, KalmRerankerError
from kalm_reranker.extras import import_extra

if TYPE_CHECKING:
    from kalm_reranker.evaluation.data.datasets import Dataset
    from kalm_reranker.evaluation.results import Evaluation
    from kalm_reranker.evaluation.settings import EvaluationSettings

_EXIT_INCOMPLETE = 1
_MOST_NOTES = 8  # on a terminal; hundreds of parts may have one each


def evaluation_command(preset: Preset) -> Callable[..., None]:
    """Returns the function of a command with these defaults."""

    def command(
        datasets: DatasetsArgument = None,
        benchmark: BenchmarkOption = None,
        tasks: TaskOption = None,
        languages: LanguageOption = None,
        data: DataOption = None,
        split: SplitOption = None,
        instruction: InstructionOption = None,
        instructions: InstructionsOption = None,
        output: OutputOption = Path("kalm-eval"),
        states: StatesOption = None,
        models: ModelsOption = None,
        ratios: RatiosOption = None,
        codecs: CodecsOption = None,
        cascades: CascadeOption = None,
        blend: BlendOption = None,
        peers: PeerOption = None,
        first_stage: FirstStageOption = "bm25",
        top_k: TopKOption = 100,
        max_queries: MaxQueriesOption = None,
        timed_queries: TimedQueriesOption = None,
        histograms: HistogramsOption = None,
        costs: CostsOption = None,
        baseline: BaselineOption = None,
        significance: SignificanceOption = "t-test",
        device: EvaluationDeviceOption = None,
        dtype: EvaluationDtypeOption = None,
        max_length: EvaluationMaxLengthOption = None,
        engine: EvaluationEngineOption = "auto",
        quantization: EvaluationQuantizationOption = None,
        as_json: JsonOption = False,
    ) -> None:
        from kalm_reranker.evaluation.data.datasets import resolve_datasets
        from kalm_reranker.evaluation.first_stage.first_stage_spec import FirstStageSpec
        from kalm_reranker.evaluation.rankers.peers import parse_peer
        from kalm_reranker.evaluation.settings import EvaluationSettings

        for peer in peers or ():
            parse_peer(peer)  # before anything is loaded
        names = ["pico"] if models is None else [name for name in models if name != "none"]
        has_models = bool(names)
        settings = EvaluationSettings(
            models=tuple(names),
            # What a preset has means nothing without models; what was asked for is refused.
            ratios=_ratios(ratios, preset) if has_models or ratios is not None else (),
            codecs=() if codecs is None else tuple(map(str.strip, codecs.split(","))),
            cascades=_cascades(cascades, preset) if has_models or cascades is not None else (),
            blend=preset.blend if blend is None else blend,
            peers=tuple(peers or ()),
            first_stage=FirstStageSpec.parse(first_stage),
            top_k=top_k,
            max_queries=max_queries,
            timed_queries=preset.timed_queries if timed_queries is None else timed_queries,
            distributions=preset.distributions if histograms is None else histograms,
            costs=(preset.costs and has_models) if costs is None else costs,
            baseline=baseline,
            significance=significance,
            model_options=_given(
                device=device,
                dtype=dtype,
                max_length=max_length,
                engine=engine,
                quantization=quantization,
            ),
        )
        chosen = resolve_datasets(
            datasets or (),
            benchmark=benchmark,
            tasks=tasks,
            languages=languages,
            data=data,
            split=split,
            instruction=instruction,
            instructions=instructions,
        )
        _run(chosen, settings, output, states, as_json=as_json)

    # Typer takes the help from here; markup stands for a dim example.
    command.__doc__ = f"{preset.summary}\n\n[dim]{preset.example}[/dim]"
    return command


app = typer.Typer(
    name="analyze",
    help="The analyses of the paper: ratios, scores, cascades, cost. Each is `kalm eval` with "
    "other defaults, and writes into the same folder.",
    no_args_is_help=True,
)
for _preset in ANALYSES:
    app.command(name=_preset.name)(evaluation_command(_preset))
evaluate = evaluation_command(EVAL)


def _run(
    datasets: "Sequence[Dataset]",
    settings: "EvaluationSettings",
    output: Path,
    states: Path | None,
    *,
    as_json: bool,
) -> None:
    from kalm_reranker.evaluation.report import render_table, write_report
    from kalm_reranker.evaluation.run import evaluate as run_evaluation

    for module in ("ir_measures", "scipy.stats", "matplotlib", "jinja2"):
        # Now, not after an hour of scoring.
        import_extra(module, extra="eval", purpose="evaluation")
    found: list[Evaluation] = []
    try:
        evaluation = run_evaluation(
            datasets,
            settings,
            output,
            states_folder=states,
            described={"command": shlex.join(["kalm", *sys.argv[1:]])},
            on_dataset=found.append,
            say=lambda line: typer.echo(line, err=True),
        )
    except BaseException as error:
        done = found[-1].datasets if found else ()
        # A mistake in options or data that nothing came before would only be made again.
        if done or not isinstance(error, KalmRerankerError):
            typer.echo(
                f"stopped after {len(done)} of {len(datasets)} datasets; the same command goes on "
                "from there",
                err=True,
            )
        if found:
            # What stopped it is the error to be told of, not what a full disk says of the report.
            with suppress(KalmRerankerError):
                files = write_report(found[-1], output)
                typer.echo(f"written, for those: {files.page}", err=True)
        raise
    files = write_report(evaluation, output)
    if as_json:
        print_json(evaluation.as_dict())
    else:
        render_table(evaluation, console())
    _tell_notes(evaluation)
    typer.echo(f"written: {files.page}", err=True)
    if len(evaluation.datasets) < len(datasets):
        raise typer.Exit(_EXIT_INCOMPLETE)


def _tell_notes(evaluation: "Evaluation") -> None:
    """Says on stderr what was odd about the data, the first few of it; the report has all."""
    several = len(evaluation.datasets) > 1
    notes = [*evaluation.notes]
    for dataset in evaluation.datasets:
        place = f"{dataset.name}: " if several else ""
        notes += [f"{place}{note}" for note in dataset.notes]
    for note in notes[:_MOST_NOTES]:
        typer.echo(f"note: {note}", err=True)
    if len(notes) > _MOST_NOTES:
        typer.echo(f"note: {len(notes) - _MOST_NOTES} more in the report", err=True)


def _given(**options: object) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _ratios(text: str | None, preset: Preset) -> tuple[int, ...]:
    return preset.ratios if text is None else counts_from_text(text, "--ratios")


def _cascades(texts: list[str] | None, preset: Preset) -> tuple[CascadeSettings, ...]:
    if texts is None:
        return preset.cascades
    if [text.lower() for text in texts] == ["none"]:
        return ()
    found = []
    for text in texts:
        cascade = cascade_from_text(text)
        if not isinstance(cascade, CascadeSettings):
            raise InvalidOptionError("--cascade none stands alone.")
        found.append(cascade)
    return tuple(found)
