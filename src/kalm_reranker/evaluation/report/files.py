"""Writes a report's files."""

from dataclasses import dataclass
from pathlib import Path

from kalm_reranker.evaluation.report.data_files import (
    comparisons_csv,
    costs_csv,
    results_csv,
    results_json,
)
from kalm_reranker.evaluation.report.figure import draw_plot, drawing
from kalm_reranker.evaluation.report.findings import findings
from kalm_reranker.evaluation.report.page import head_lines, render_page, title_of
from kalm_reranker.evaluation.report.picture import picture
from kalm_reranker.evaluation.report.plots import PLOT_NAMES, plots_of
from kalm_reranker.evaluation.report.summary import summarize
from kalm_reranker.evaluation.report.tables import markdown_table
from kalm_reranker.evaluation.results import Evaluation
from kalm_reranker.machine import describe
from kalm_reranker.whole_files import write_whole

_PLOTS = "plots"


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """Where the parts of a report lie.

    Attributes:
        page: The page for people, one file without links to others.
        picture: Its plots in one picture.
        results: Everything, as JSON.
        table: The main measure as a Markdown table.
        csv: A row for each set and ranker.
        comparisons: A row for each comparison.
        costs: A row for each online cost.
        plots: Each plot as PNG and SVG.
    """

    page: Path
    picture: Path
    results: Path
    table: Path
    csv: Path
    comparisons: Path
    costs: Path
    plots: tuple[Path, ...]


def write_report(evaluation: Evaluation, folder: Path) -> ReportFiles:
    """Writes the report of an evaluation; the same evaluation gives the same bytes.

    Everything is made before the first file is written, and each file is there whole or as it was
    before. Plots of an earlier report that this one does not have are removed.

    Args:
        evaluation: What was found.
        folder: Made if it is not there.

    Raises:
        MissingExtraError: matplotlib or Jinja2 is not installed.
        DataFileError: A file cannot be written.
    """
    folder = Path(folder)
    contents = report_contents(evaluation)
    for name, content in contents.items():
        write_whole(folder / name, content)
    for name in PLOT_NAMES:
        for kind in ("png", "svg"):
            if f"{_PLOTS}/{name}.{kind}" not in contents:
                (folder / _PLOTS / f"{name}.{kind}").unlink(missing_ok=True)
    return ReportFiles(
        page=folder / "report.html",
        picture=folder / "report.png",
        results=folder / "results.json",
        table=folder / "table.md",
        csv=folder / "results.csv",
        comparisons=folder / "comparisons.csv",
        costs=folder / "costs.csv",
        plots=tuple(folder / name for name in contents if name.startswith(f"{_PLOTS}/")),
    )


def report_contents(evaluation: Evaluation) -> dict[str, bytes]:
    """Returns the content of every file of a report, by its path within the folder."""
    summaries = summarize(evaluation)
    with drawing():
        drawn = [
            draw_plot(plot, note=describe(evaluation.machine))
            for plot in plots_of(evaluation, summaries)
        ]
        lines = [*head_lines(evaluation), *findings(evaluation, summaries)]
        image = picture(drawn, title_of(evaluation), lines)
    texts = {
        "report.html": render_page(evaluation, summaries, drawn),
        "results.json": results_json(evaluation),
        "results.csv": results_csv(evaluation),
        "comparisons.csv": comparisons_csv(evaluation),
        "costs.csv": costs_csv(evaluation),
        "table.md": markdown_table(evaluation),
    }
    # A name may hold half a character (a path of another encoding), which UTF-8 cannot write.
    contents = {name: text.encode("utf-8", "replace") for name, text in texts.items()}
    contents["report.png"] = image
    for one in drawn:
        contents[f"{_PLOTS}/{one.plot.name}.png"] = one.png
        contents[f"{_PLOTS}/{one.plot.name}.svg"] = one.svg
    return contents
