"""Options of `kalm eval` and `kalm analyze`, in the panels of their help."""

from pathlib import Path
from typing import Annotated

import typer

# Narrow words stand for values: the help has to fit 80 columns.
_DATASETS, _RANKERS, _MEASURES = "Datasets and candidates", "Rankers", "What is measured"

DatasetsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATASET...",
        help="A BEIR directory, a folder of several, demo (bundled), irds:ID, mteb:TASK, or "
        "mteb:TASK/SUBSET.",
        show_default=False,
    ),
]
BenchmarkOption = Annotated[
    str | None,
    typer.Option(
        "--benchmark",
        "-b",
        metavar="NAME",
        help="beir (13 tasks), miracl (18 languages), lmeb, or one of its families: lmeb-episodic, "
        "lmeb-dialogue, lmeb-semantic, lmeb-procedural.",
        rich_help_panel=_DATASETS,
    ),
]
TaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help="Only this task of the benchmark; repeatable.",
        rich_help_panel=_DATASETS,
    ),
]
LanguageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--language",
        metavar="CODE",
        help="Only this language; repeatable.",
        rich_help_panel=_DATASETS,
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FOLDER",
        help="Local copies of the benchmark's datasets.",
        rich_help_panel=_DATASETS,
    ),
]
SplitOption = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="Which judgements. (default: each dataset's own)",
        rich_help_panel=_DATASETS,
    ),
]
InstructionOption = Annotated[
    str | None,
    typer.Option(
        "--instruction",
        metavar="TEXT",
        help="Task instruction of all datasets.",
        rich_help_panel=_DATASETS,
    ),
]
InstructionsOption = Annotated[
    Path | None,
    typer.Option(
        "--instructions",
        metavar="FILE",
        help="Task instructions by dataset, as JSON.",
        rich_help_panel=_DATASETS,
    ),
]
FirstStageOption = Annotated[
    str,
    typer.Option(
        "--first-stage",
        metavar="SPEC",
        help="bm25, bm25:k1=1.2,b=0.75, dense, dense:MODEL, run:FILE, mteb:FOLDER, or given.",
        rich_help_panel=_DATASETS,
    ),
]
TopKOption = Annotated[
    int,
    typer.Option(
        "--top-k",
        "-k",
        metavar="N",
        min=1,
        help="Candidates of a query.",
        rich_help_panel=_DATASETS,
    ),
]
MaxQueriesOption = Annotated[
    int | None,
    typer.Option(
        "--max-queries",
        metavar="N",
        min=1,
        help="First queries of each dataset. (default: all)",
        rich_help_panel=_DATASETS,
    ),
]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        help="Report, runs, and all that another evaluation can use again.",
    ),
]
StatesOption = Annotated[
    Path | None,
    typer.Option(
        "--states", metavar="FOLDER", help="Passage states. (default: states in --output)"
    ),
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="KaLM model, repeatable; none for peers alone. (default: pico)",
        rich_help_panel=_RANKERS,
    ),
]
RatiosOption = Annotated[
    str | None,
    typer.Option(
        "--ratios",
        "-r",
        metavar="N,N",
        help="Compression ratios, such as 2,8,32.",
        rich_help_panel=_RANKERS,
    ),
]
CodecsOption = Annotated[
    str | None,
    typer.Option(
        "--codecs",
        metavar="NAMES",
        help="How states are stored: float32,bf16,int8,int4. (default: without loss)",
        rich_help_panel=_RANKERS,
    ),
]
CascadeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cascade",
        metavar="C:F:N",
        help="All candidates at ratio C, the best N again at F; repeatable; none for none.",
        rich_help_panel=_RANKERS,
    ),
]
BlendOption = Annotated[
    bool | None,
    typer.Option(
        "--blend/--no-blend",
        help="Also each ranking blended with the first stage.",
        rich_help_panel=_RANKERS,
    ),
]
PeerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--peer",
        "-p",
        metavar="SPEC",
        help="cross-encoder:NAME, embedding:NAME, late-interaction:NAME or run:LABEL=FILE; "
        "repeatable.",
        rich_help_panel=_RANKERS,
    ),
]
EvaluationEngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="auto, eager, fused or compiled; see docs/performance.md.",
        rich_help_panel=_RANKERS,
    ),
]
EvaluationQuantizationOption = Annotated[
    str | None,
    typer.Option(
        "--quantization",
        metavar="int8",
        help="The decoder's weights in 8 bits. (default: as they are)",
        rich_help_panel=_RANKERS,
    ),
]
EvaluationDeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="cpu, cuda, cuda:0, ... (default: cuda if any)",
        rich_help_panel=_RANKERS,
    ),
]
EvaluationDtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="NAME",
        help="bfloat16, float16 or float32. (default: what the hardware is fast at)",
        rich_help_panel=_RANKERS,
    ),
]
EvaluationMaxLengthOption = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        metavar="N",
        help="Tokens a passage is cut at. (default: the checkpoint's own)",
        rich_help_panel=_RANKERS,
    ),
]
TimedQueriesOption = Annotated[
    int | None,
    typer.Option(
        "--timed-queries",
        metavar="N",
        min=0,
        help="Queries to time our rankers on, in turns; 0 for none.",
        rich_help_panel=_MEASURES,
    ),
]
HistogramsOption = Annotated[
    bool | None,
    typer.Option(
        "--histograms/--no-histograms",
        help="Scores of relevant candidates and of others.",
        rich_help_panel=_MEASURES,
    ),
]
CostsOption = Annotated[
    bool | None,
    typer.Option(
        "--costs/--no-costs",
        help="Online cost, analytic and measured.",
        rich_help_panel=_MEASURES,
    ),
]
BaselineOption = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="NAME",
        help="Ranker the others are compared with. (default: the first stage)",
        rich_help_panel=_MEASURES,
    ),
]
SignificanceOption = Annotated[
    str,
    typer.Option(
        "--significance",
        metavar="TEST",
        help="t-test or bootstrap, paired.",
        rich_help_panel=_MEASURES,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Everything as one JSON object.")]
